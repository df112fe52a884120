"""The MCP server by which an agent asks its human."""
