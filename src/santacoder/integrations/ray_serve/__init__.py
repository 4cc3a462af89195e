"""The server on a Ray cluster, by Ray Serve: several models behind one address.

    python -m santacoder.integrations.ray_serve --replicas 4 --model PATH|REPO

Requests come in at the door, which sends each to the replica that has read its beginning. A replica is a model with the
application of `santacoder.server`. Its answers do not depend on the others, so a request whose replica dies is sent to
another one, and its client gets the same bytes.
"""
