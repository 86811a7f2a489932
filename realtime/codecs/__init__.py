"""NVIDIA's decoders and encoders: what this machine has of them, and how they are reached.

On a PC FFmpeg uses them itself. FFmpeg's build in PyAV's wheels does not know those of a Jetson: there a GStreamer child decodes
or encodes, packets and pictures going through its pipes.
"""
