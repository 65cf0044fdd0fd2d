"""Hermes: serverless delivery for GPUs. The log is the system."""

__version__ = "0.1.0"
