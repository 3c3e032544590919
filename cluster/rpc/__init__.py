"""The chief on the wire. The only importer of grpc.

`cluster.proto` says what travels; `server.py` serves a `Chief`; `client.py` is a worker's way to it; `stock.py` lets
KerasTuner's own clients in; `status.py` maps errors to gRPC statuses and back; `codec.py` KerasTuner's objects to JSON.
"""
