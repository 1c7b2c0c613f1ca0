"""What /metrics says: names, labels and buckets that dashboards hold on to."""

from decimal import Decimal

import prometheus_client
import pytest
from msgspec.structs import replace

from kit.fakes import NOW, a_notice, a_task
from receiver.core.types import ArchiveState, OutcomeSource, PollResult, Send, SubmitResult, TaskState, Usage, Verdict
from receiver.telemetry.metrics import MEDIA_TYPE, GaugeValues, Metrics


def lines(metrics: Metrics) -> list[str]:
    now = GaugeValues(depths=[("ingest", 3)], disk_free=5, disk_size=7, database=11, database_log=13)
    return metrics.render_text(now).decode().splitlines()


def test_every_count_has_its_name_and_labels() -> None:
    """Those of the contract."""
    metrics = Metrics()
    metrics.count_callbacks(["accepted", "duplicate", "accepted"])
    metrics.count_settled(
        [a_task(TaskState.COMPLETED, settled_by=OutcomeSource.POLL), a_task(TaskState.FAILED, settled_by=None)]
    )
    metrics.count_poll(PollResult.BUSY)
    metrics.count_submission(SubmitResult.UNCLEAR)
    metrics.count_archived(ArchiveState.DONE)
    metrics.count_clock_leaps(2)
    notices = (a_notice(created_at=NOW - 2_000), a_notice(created_at=NOW + 9))  # the second: a clock that was put back
    metrics.count_send(Send(id=1, target="slack", claim=1, claims=1, tries=0, notices=notices), "sent", NOW)
    assert {
        'receiver_callbacks_total{verdict="accepted"} 2.0',
        'receiver_callbacks_total{verdict="duplicate"} 1.0',
        'receiver_tasks_total{settled_by="poll",state="completed"} 1.0',
        'receiver_tasks_total{settled_by="",state="failed"} 1.0',
        'receiver_polls_total{result="busy"} 1.0',
        'receiver_submissions_total{result="unclear"} 1.0',
        'receiver_archived_total{state="done"} 1.0',
        "receiver_clock_leaps_total 2.0",
        'receiver_notices_total{state="sent",target="slack"} 2.0',
        'receiver_notice_seconds_bucket{le="1.0"} 1.0',
        'receiver_notice_seconds_bucket{le="2.5"} 2.0',
        "receiver_notice_seconds_sum 2.0",
        'receiver_queue_depth{queue="ingest"} 3.0',
        "receiver_ready 1.0",
        "receiver_disk_free_bytes 5.0",
        "receiver_disk_size_bytes 7.0",
        'receiver_database_bytes{file="database"} 11.0',
        'receiver_database_bytes{file="log"} 13.0',
    } <= set(lines(metrics))


def test_a_count_of_every_end_and_source_exists_before_it_happens() -> None:
    """If one first appeared as 1, an alert rule could not see that it grew."""
    told = set(lines(Metrics()))
    for state in ("completed", "failed", "lost", "cancelled"):
        for source in (*OutcomeSource, ""):
            assert f'receiver_tasks_total{{settled_by="{source}",state="{state}"}} 0.0' in told
    for result in SubmitResult:
        assert f'receiver_submissions_total{{result="{result}"}} 0.0' in told
    for heard in PollResult:
        assert f'receiver_polls_total{{result="{heard}"}} 0.0' in told
    for verdict in (*Verdict, "foreign"):
        assert f'receiver_callbacks_total{{verdict="{verdict}"}} 0.0' in told


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
    """So that a dashboard finds the names from the first scrape on, and a rule sees the first of anything as growth."""
    text = lines(Metrics(["slack"]))
    assert "# TYPE receiver_callbacks_total counter" in text
    assert 'receiver_callback_seconds_bucket{le="+Inf"} 0.0' in text
    assert {f'receiver_callbacks_total{{verdict="{it}"}} 0.0' for it in [*Verdict, "foreign"]} <= set(text)
    assert {f'receiver_tasks_total{{settled_by="{it}",state="completed"}} 0.0' for it in ("callback", "poll")} <= set(
        text
    )
    assert {f'receiver_notices_total{{state="{it}",target="slack"}} 0.0' for it in ("sent", "failed", "dead")} <= set(
        text
    )


def test_what_could_not_be_found_out_is_not_told() -> None:
    """A size of 0 would be a lie, and an alert."""
    text = Metrics().render_text(GaugeValues(ready=False)).decode()
    assert "receiver_ready 0.0" in text
    assert "# TYPE receiver_disk_free_bytes gauge" in text
    assert "\nreceiver_disk_free_bytes" not in text
    assert "\nreceiver_database_bytes" not in text


def test_what_the_process_uses_is_told_too() -> None:
    """By the names that every exporter has."""
    text = Metrics().render_text(GaugeValues()).decode()
    for name in ("process_resident_memory_bytes", "process_cpu_seconds_total", "process_open_fds"):
        assert f"\n{name} " in text


def test_the_text_is_of_the_type_that_the_library_says() -> None:
    """It is written down here, so that serving it does not import the library."""
    assert prometheus_client.CONTENT_TYPE_LATEST == MEDIA_TYPE


def test_what_ended_tasks_cost_is_summed_by_model_and_odd_names_do_not_add_up() -> None:
    """A model's name may come from a callback, so the label is bounded."""
    metrics = Metrics()
    paid = a_task(TaskState.COMPLETED, usage=Usage(Decimal("0.05")))
    metrics.count_settled([paid, paid, replace(paid, usage=Usage(Decimal("-3"))), replace(paid, usage=None)])
    metrics.count_settled([replace(paid, model=f"odd-{number}") for number in range(200)])
    metrics.count_settled([replace(paid, model=None)])
    told = [line for line in lines(metrics) if line.startswith("receiver_cost_usd_total{")]
    assert 'receiver_cost_usd_total{model="midjourney_outpaint"} 0.1' in told
    assert len(told) <= 51
    assert sum(float(line.rsplit(" ", 1)[1]) for line in told) == pytest.approx(203 * 0.05)


def test_what_is_reserved_is_a_gauge() -> None:
    assert "receiver_reserved_usd 0.35" in Metrics().render_text(GaugeValues(reserved_usd=0.35)).decode()
