"""What the sandbox draws: landscapes that one recognises again after each of Midjourney's operations.

`picture` says what is to be drawn, `plan` makes that of a task's parameters and of the picture that it goes on from;
`paint` draws it on a `canvas`, with `scenery` and `subjects`; `film` makes a video of it.
"""
