"""Attention that a target fails: what is said of it, to the others."""

from receiver.core.types import Policy
from receiver.notify.attention import raise_attention
from receiver.notify.senders.remedies import find_advice
from receiver.store import Tx

GAVE_UP = (
    "A notice to {name} could not be delivered: {error}. {advice}. "
    "Then send it again with `receiver notices redrive --target {name}`."
)
CIRCUIT_OPEN = (
    "{name} failed several times in a row and is now tried less often: {error}. {advice}. Nothing is lost: notices "
    "that run out of tries are kept, and `receiver notices redrive --target {name}` sends them once it works again."
)
LOOKS_FINAL = (
    "{name} refuses our messages: {error}. {advice}. Nothing is lost: they are tried again meanwhile, in growing gaps. "
    "Those that run out of tries are kept, and `receiver notices redrive --target {name}` sends them once it works."
)
REFUSES_ONE = (
    "{name} refuses a message again and again: {error}. {advice}. Its other messages go on. This one is tried again, "
    "in growing gaps; if it runs out of tries it is kept, and `receiver notices redrive --target {name}` sends it."
)


async def raise_target_attention(
    tx: Tx, policy: Policy, name: str, text: str, error: str, now: int, kind: str = "target"
) -> None:
    """Notify the other targets that this one fails, with one of the texts above."""
    words = text.format(name=name, error=error.rstrip("."), advice=find_advice(error))
    await raise_attention(tx, f"{kind}:{name}", words, policy, now, but=name)
