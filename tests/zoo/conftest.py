from zoo_server import server  # noqa: F401
