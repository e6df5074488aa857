"""What acknowledgement costs: a stream of small messages with it and without, in turns between the same two nodes."""

from __future__ import annotations

from .host import hosts


def run(rounds: int, seconds: float) -> list[tuple[float, float]]:
    """Measure the confirmed messages a second, (with acknowledgement, without), a round each."""
    found = []
    with hosts("sender", "receiver") as [sender, receiver]:
        for name, host in (("a", sender), ("b", receiver)):
            host.order("start", names=[name])
        sender.answer("addresses")
        sender.order("join", contact=receiver.answer("addresses")[0])
        receiver.order("sink")
        receiver.answer("sink")
        sender.answer("joined")
        sender.order("meshed", names=["a@127.0.0.1", "b@127.0.0.1"])
        sender.answer("meshed")
        for _ in range(rounds):
            rates = []
            for ack in (True, False):
                sender.order("stream", to="b@127.0.0.1", seconds=seconds, ack=ack)
                rates.append(float(sender.answer("rate", seconds + 30.0)))
            found.append((rates[0], rates[1]))
    return found
