"""An OTLP/gRPC receiver as anyone would write it, with gRPC's default limits.

Usage: receiver.py DIRECTORY [BEHAVIOUR...]

Prints its port. Speaks TLS if DIRECTORY has server.pem and server.key. Request n is treated as BEHAVIOUR n says and written to DIRECTORY/n-BEHAVIOUR;
requests after the last behaviour are accepted. A behaviour is `ok`, `partial=REJECTED`, `hang`, or
the name of a status code, with `=DETAILS` in hex for grpc-status-details-bin.
"""

import itertools
import os
import sys
import threading
from concurrent import futures

import grpc
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2 as messages
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2_grpc as services

directory, behaviours = sys.argv[1], sys.argv[2:]
numbers = itertools.count()


class Receiver(services.MetricsServiceServicer):
    def Export(self, request, context):
        number = next(numbers)
        name, _, value = (behaviours[number] if number < len(behaviours) else "ok").partition("=")
        path = os.path.join(directory, f"{number:04}-{name}")
        with open(path + ".part", "wb") as file:
            file.write(request.SerializeToString())
        os.rename(path + ".part", path)
        for key, header in context.invocation_metadata():
            if key == "authorization":
                with open(os.path.join(directory, "authorization"), "w") as file:
                    file.write(header)
        if name == "hang":
            threading.Event().wait()
        if name == "partial":
            answer = messages.ExportMetricsServiceResponse()
            answer.partial_success.rejected_data_points = int(value)
            answer.partial_success.error_message = "too old"
            return answer
        if name != "ok":
            if value:
                details = ("grpc-status-details-bin", bytes.fromhex(value))
                context.set_trailing_metadata((details,))
            context.abort(getattr(grpc.StatusCode, name), "as told")
        return messages.ExportMetricsServiceResponse()


server = grpc.server(futures.ThreadPoolExecutor(max_workers=4))
services.add_MetricsServiceServicer_to_server(Receiver(), server)
try:
    with open(os.path.join(directory, "server.key"), "rb") as key:
        with open(os.path.join(directory, "server.pem"), "rb") as certificate:
            pair = (key.read(), certificate.read())
    port = server.add_secure_port("127.0.0.1:0", grpc.ssl_server_credentials([pair]))
except FileNotFoundError:
    port = server.add_insecure_port("127.0.0.1:0")
server.start()
print(port, flush=True)
server.wait_for_termination()
