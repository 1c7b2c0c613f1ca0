"""What /metrics says: names, labels and buckets that dashboards hold on to."""

import prometheus_client
from fakes import NOW, a_notice, a_task

from receiver.metrics import MEDIA_TYPE, Metrics
from receiver.model import Heard, Send, Source, State


def lines(metrics: Metrics) -> list[str]:
    return metrics.text([("ingest", 3)]).decode().splitlines()


def test_every_count_has_its_name_and_labels() -> None:
    """Those of the contract."""
    metrics = Metrics()
    metrics.called(["accepted", "duplicate", "accepted"])
    metrics.settled([a_task(State.COMPLETED, settled_by=Source.POLL), a_task(State.FAILED, settled_by=None)])
    metrics.polled(Heard.BUSY)
    notices = (a_notice(created_at=NOW - 2_000), a_notice(created_at=NOW + 9))  # the second: a clock that was put back
    metrics.noticed(Send(id=1, target="slack", claim=1, claims=1, tries=0, notices=notices), "sent", NOW)
    assert {
        'receiver_callbacks_total{verdict="accepted"} 2.0',
        'receiver_callbacks_total{verdict="duplicate"} 1.0',
        'receiver_tasks_total{settled_by="poll",state="completed"} 1.0',
        'receiver_tasks_total{settled_by="",state="failed"} 1.0',
        'receiver_polls_total{result="busy"} 1.0',
        'receiver_notices_total{state="sent",target="slack"} 2.0',
        'receiver_notice_seconds_bucket{le="1.0"} 1.0',
        'receiver_notice_seconds_bucket{le="2.5"} 2.0',
        "receiver_notice_seconds_sum 2.0",
        'receiver_queue_depth{queue="ingest"} 3.0',
    } <= set(lines(metrics))


def test_a_duration_counts_in_its_bucket_and_all_above() -> None:
    """A bound belongs to its bucket, and what is longer than all bounds only to +Inf."""
    metrics = Metrics()
    for seconds in (0.0, 0.001, 0.0011, 3600.0, 3601.0):
        metrics.callback_seconds.observe(seconds)
    told = dict(it.rsplit(" ", 1) for it in lines(metrics) if it.startswith("receiver_callback_seconds_"))
    buckets = [float(count) for name, count in told.items() if "_bucket" in name]
    assert buckets[:2] == [2.0, 3.0]
    assert buckets[-2:] == [4.0, 5.0]
    assert buckets == sorted(buckets)
    assert float(told["receiver_callback_seconds_count"]) == 5.0


def test_nothing_counted_yet_is_told_as_nothing() -> None:
    """So that a dashboard finds the names, and the histograms' zeros, from the first scrape on."""
    text = lines(Metrics())
    assert "# TYPE receiver_callbacks_total counter" in text
    assert 'receiver_callback_seconds_bucket{le="+Inf"} 0.0' in text


def test_the_text_is_of_the_type_that_the_library_says() -> None:
    """It is written down here, so that serving it does not import the library."""
    assert prometheus_client.CONTENT_TYPE_LATEST == MEDIA_TYPE
