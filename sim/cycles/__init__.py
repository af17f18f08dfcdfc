"""The cycle model: cycles of a program without a simulation, equal to those of the RTL."""
