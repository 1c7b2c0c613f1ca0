"""The errors that are raised on purpose: what is wrong, what to do about it, and what their callers need to know."""

import pytest

from receiver.core import errors
from receiver.core.errors import ApiError, NotFetched, ReceiverError, RequestRefused, StoreError, StoreUnavailable

WHYS = ("permanent", "early", "silent", "forbidden")


def test_an_error_says_what_is_wrong_and_what_to_do_about_it() -> None:
    error = ReceiverError("the disk is full", remedy="free some space")
    assert (error.problem, error.remedy, str(error)) == (
        "the disk is full",
        "free some space",
        "the disk is full; free some space",
    )


def test_an_error_without_a_known_remedy_says_only_what_is_wrong() -> None:
    error = ReceiverError("the disk is full")
    assert (error.problem, error.remedy, str(error)) == ("the disk is full", None, "the disk is full")


def test_whoever_catches_the_root_catches_every_error_of_ours() -> None:
    ours = [it for it in vars(errors).values() if isinstance(it, type)]
    assert len(ours) > 10
    assert all(issubclass(it, ReceiverError) for it in ours)


def test_a_store_that_is_busy_asks_to_be_tried_again_in_five_seconds() -> None:
    error = StoreUnavailable("busy", remedy="wait")
    assert isinstance(error, StoreError)
    assert (error.retry_after_s, str(error)) == (5, "busy; wait")
    assert StoreUnavailable("full", retry_after_s=60).retry_after_s == 60


def test_a_picture_that_could_not_be_fetched_may_be_had_later_unless_it_says_otherwise() -> None:
    error = NotFetched("no answer")
    assert [getattr(error, it) for it in WHYS] == [False] * 4


@pytest.mark.parametrize("why", WHYS)
def test_why_a_picture_could_not_be_fetched_is_kept(why: str) -> None:
    error = NotFetched("gone", **{why: True})
    assert {it: getattr(error, it) for it in WHYS} == {it: it == why for it in WHYS}
    assert str(error) == "gone"


def test_a_refused_request_names_its_status_code_field_and_remedy() -> None:
    error = RequestRefused(422, "unknown_target", "no target team", "notify", remedy="see receiver config")
    assert (error.status, error.code, error.field, error.remedy) == (
        422,
        "unknown_target",
        "notify",
        "see receiver config",
    )
    assert str(error) == "no target team; see receiver config"
    assert RequestRefused(404, "not_found", "no such task").field is None


def test_the_client_passes_on_what_our_api_answered() -> None:
    error = ApiError(409, "conflict", "already settled", "ref")
    assert (error.status, error.code, error.field, str(error)) == (409, "conflict", "ref", "already settled")
