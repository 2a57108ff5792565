"""Modules, services and clients of shmooze, in Python, without dependencies.

    shmooze.module     a module: a process that a queue or a pool drives
    shmooze.service    a service of the application: commands as JSON lines on a port
    shmooze.client     asking a service, over TCP or through the HTTP gateway
    shmooze.settings   the application's settings.json
    shmooze.testing    a parent for the tests of a module
    shmooze.errors     every exception that the others raise

What travels on the wire is docs/protocol.md of the project; "protocol.md section N" in the
comments is that file.
"""

__version__ = "0.1.0"
