"""Float reference of learned (LQ) quantized networks: quantizers, layers, networks, training.

This package knows nothing of the gateware. It trains a network, and the trained network is
the reference that the integer model and the hardware are measured against.
"""
