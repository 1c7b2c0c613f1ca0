"""The hash of the pages' password: what it accepts, and that no hash from outside is dear to check."""

import pytest

from receiver.passwords import MOST, hash_password, is_password_hash, verify_password

HASHED = hash_password("correct horse")
SALTED = "c2FsdHNhbHRzYWx0c2FsdA$aKghAy1QUbMnCVEyCsAHoCjLBROQueu/TW5+YDZHl1M"


def test_the_right_password_has_its_hash_and_another_has_not() -> None:
    assert HASHED.startswith("$argon2id$v=19$m=19456,t=2,p=1$")
    assert is_password_hash(HASHED)
    assert verify_password(HASHED, "correct horse")
    for wrong in ("", "Correct horse", "correct horse ", "correct horse\0", "x" * (MOST + 1)):
        assert not verify_password(HASHED, wrong)


def test_the_same_password_has_another_hash_each_time() -> None:
    assert hash_password("correct horse") != HASHED


def test_two_ways_to_type_one_letter_are_one_password() -> None:
    hashed = hash_password("caf\u00e9 noir")
    assert verify_password(hashed, "cafe\u0301 noir")
    assert not verify_password(hashed, "cafe noir")


def test_half_a_character_is_a_wrong_password_and_no_error() -> None:
    assert not verify_password(HASHED, "\ud83d correct")


@pytest.mark.parametrize(
    ("text", "good"),
    [
        (f"$argon2id$v=19$m=19456,t=2,p=1${SALTED}", True),
        (f"$argon2i$v=19$m=65536,t=3,p=4${SALTED}", True),
        (f"$argon2id$v=19$m=262144,t=16,p=16${SALTED}", True),
        (f"$argon2id$v=19$m=262145,t=2,p=1${SALTED}", False),
        (f"$argon2id$v=19$m=4194304,t=2,p=1${SALTED}", False),
        (f"$argon2id$v=19$m=19456,t=99,p=1${SALTED}", False),
        (f"$argon2id$v=19$m=19456,t=0,p=1${SALTED}", False),
        (f"$argon2id$v=19$m=7,t=1,p=1${SALTED}", False),
        (f"$argon2id$v=19$m=19456,t=2,p=17${SALTED}", False),
        (f"$argon2id$v=19$m=19456,t=2,p=0${SALTED}", False),
        (f"$argon2d$v=19$m=19456,t=2,p=1${SALTED}", False),
        ("$2b$12$abcdefghijklmnopqrstuv", False),
        ("correct horse", False),
        ("", False),
    ],
)
def test_only_a_hash_that_is_cheap_to_check_is_one(text: str, good: bool) -> None:
    assert is_password_hash(text) == good
    if not good:
        assert not verify_password(text, "correct horse")


def test_a_hash_that_looks_good_and_is_none_refuses_everything() -> None:
    assert not verify_password(f"$argon2id$v=19$m=64,t=1,p=1${SALTED}", "correct horse")
    assert not verify_password("$argon2id$v=19$m=64,t=1,p=1$" + "A" * 11 + "$" + "B" * 23, "correct horse")
