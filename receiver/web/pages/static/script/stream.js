// One stream for all tabs: a browser opens only six connections to a server. The tab that holds the lock reads the
// stream and passes on what it hears; when that tab closes, another takes its place. Without locks, each tab reads.
function followTasks(onTask, onState) {
  const FAILURES_MOST = 3;
  const channel = new BroadcastChannel("receiver");
  let state = "";
  let reading = false;

  function hear({ data }) {
    if (data.task) onTask(data.task);
    else if (data.missed) onState("missed");
    else if (data.state) onState((state = data.state));
    else if (reading && state) channel.postMessage({ state });
  }
  function tell(data) {
    channel.postMessage(data);
    hear({ data });
  }

  function read() {
    let failures = 0;
    const open = () => {
      const source = new EventSource("/live");
      source.addEventListener("task", (event) => tell({ task: JSON.parse(event.data) }));
      source.addEventListener("missed", () => tell({ missed: true }));
      source.onopen = () => {
        failures = 0;
        tell({ state: "live" });
      };
      source.onerror = () => {
        failures += 1;
        if (failures < FAILURES_MOST && source.readyState !== EventSource.CLOSED) return tell({ state: "connecting" });
        source.close();
        tell({ state: "down" });
        setTimeout(open, 30 * SECOND);
      };
    };
    reading = true;
    if (state) tell({ state: "connecting" }); // it was another tab's: what came in between is caught up
    open();
  }

  channel.onmessage = hear;
  if (!navigator.locks) return read();
  channel.postMessage({ hello: true });
  navigator.locks.request("receiver", () => {
    read();
    return new Promise(() => {}); // held until the tab closes
  });
}
