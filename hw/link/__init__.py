"""Host link: a serial port that carries checked frames to the accelerator's host port.

``protocol`` (plain Python) defines what is on the wire; ``link.Link`` is the whole gateware.
This file imports nothing, so that the host can read ``protocol`` without gateware.
"""
