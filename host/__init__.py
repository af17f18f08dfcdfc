"""Host software: talks to an accelerator on a board, or to a simulated one, over the host link."""
