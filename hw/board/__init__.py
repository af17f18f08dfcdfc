"""Boards: clock, pins and the whole accelerator behind them."""
