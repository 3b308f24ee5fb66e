"""Tools of MCP servers named in the settings, as LangChain tools. What they return is a source, quoted like any other."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from agents.config import McpServer
from agents.errors import AgentError, ToolError

if TYPE_CHECKING:
    from langchain_core.tools import BaseTool


def tools(servers: Mapping[str, McpServer]) -> list[BaseTool]:
    """The tools of all servers, asked for once; AgentError names the server that cannot be reached."""
    found: list[BaseTool] = []
    for name, server in servers.items():
        found += _tools_of(name, server)
    return found


def _tools_of(name: str, server: McpServer) -> list[BaseTool]:
    import anyio

    async def listed() -> Any:
        async with _client(server) as client:
            return (await client.list_tools()).tools

    try:
        described = anyio.run(listed)
    except Exception as error:  # whatever a server or its transport may raise
        raise AgentError(
            f"mcp_servers: {name}: cannot be reached ({_root(error)}). Check its command or url"
        ) from error
    wanted = set(server.tools)
    missing = wanted - {tool.name for tool in described}
    if missing:
        raise AgentError(f"mcp_servers: {name}: has no tool {', '.join(sorted(missing))}")
    return [_wrapped(server, tool) for tool in described if not wanted or tool.name in wanted]


def _wrapped(server: McpServer, described: Any) -> BaseTool:
    from langchain_core.tools import StructuredTool

    def call(**arguments: Any) -> str:
        import anyio

        async def called() -> Any:
            async with _client(server) as client:
                return await client.call_tool(described.name, arguments)

        try:
            result = anyio.run(called)
        except Exception as error:  # as above
            raise ToolError(f"{described.name}: {_root(error)}") from error
        text = "\n".join(part.text for part in result.content if getattr(part, "text", None))
        if result.is_error:
            raise ToolError(f"{described.name}: {text[:300]}")
        return text

    return StructuredTool(
        name=described.name,
        description=(described.description or described.name).strip(),
        args_schema=described.input_schema,
        func=call,
    )


def _client(server: McpServer) -> Any:
    from mcp import StdioServerParameters
    from mcp.client import Client
    from mcp.client.stdio import stdio_client

    if bool(server.command) == bool(server.url):
        raise AgentError("an MCP server needs either `command` or `url`")
    if server.url:
        return Client(server.url)
    return Client(stdio_client(StdioServerParameters(command=server.command[0], args=list(server.command[1:]))))


def _root(error: BaseException) -> str:
    while isinstance(error, BaseExceptionGroup) and error.exceptions:
        error = error.exceptions[0]
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
