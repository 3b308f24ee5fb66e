"""Errors of an agent's run: those a model may mend by asking differently, and those that end the run."""

from core.errors import GenlError


class ToolError(GenlError):
    """A tool could not do what it was asked. The message goes back to the model, which may ask differently."""


class AgentError(GenlError):
    """A run, a thread or a tool's settings that cannot be used."""
