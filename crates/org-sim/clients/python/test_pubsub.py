"""The Pub/Sub API and change events, with a client in another language and an Avro reader that is not the org's.

grpcio's code is generated here from crates/org-sim/proto/pubsub_api.proto; fastavro decodes and encodes payloads.
"""

import io
import json
import os
import queue
import sys
import tempfile
import time
import unittest

import fastavro
import grpc
import support
from grpc_tools import protoc

PROTO = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "proto")


def generate():
    """Generates the client's code from the proto and imports it."""
    folder = tempfile.mkdtemp()
    args = ["protoc", f"-I{PROTO}", f"--python_out={folder}", f"--grpc_python_out={folder}", "pubsub_api.proto"]
    if protoc.main(args) != 0:
        raise RuntimeError("the proto cannot be compiled")
    sys.path.insert(0, folder)
    import pubsub_api_pb2
    import pubsub_api_pb2_grpc

    return pubsub_api_pb2, pubsub_api_pb2_grpc


pb, pb_grpc = generate()
EARLIEST, CUSTOM = pb.ReplayPreset.EARLIEST, pb.ReplayPreset.CUSTOM
LEADS = "/data/LeadChangeEvent"
SHIPPED = "/event/Shipped__e"


def field_names(schema, entries):
    """Names of the fields that bitmaps mean, as Salesforce's own samples decode them."""
    names = []
    for entry in entries:
        place, _, bits = entry.rpartition("-")
        fields, prefix = schema["fields"], ""
        if place:
            parent = fields[int(place)]
            prefix = parent["name"] + "."
            fields = record_of(schema, parent["type"])["fields"]
        names += [prefix + field["name"] for at, field in enumerate(fields) if int(bits, 16) >> at & 1]
    return sorted(names)


def record_of(schema, kind):
    """The record among the branches of a union; one that is used twice is defined where it is first."""
    for branch in kind:
        if isinstance(branch, dict) and branch["type"] == "record":
            return branch
        if isinstance(branch, str) and branch[0].isupper():
            return records(schema)[branch]
    raise AssertionError(f"{kind} holds no record")


def records(schema):
    found = {}
    for field in schema["fields"]:
        kinds = field["type"] if isinstance(field["type"], list) else [field["type"]]
        found.update((kind["name"], kind) for kind in kinds if isinstance(kind, dict) and "fields" in kind)
    return found


class PubSub(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.sf = support.log_in()
        cls.org_id = cls.sf.session_id.split("!")[0]
        cls.user_id = cls.sf.query(f"SELECT Id FROM User WHERE Username = '{support.USERNAME}'")["records"][0]["Id"]
        cls.headers = (("accesstoken", cls.sf.session_id), ("instanceurl", support.URL), ("tenantid", cls.org_id))
        cls.channel = grpc.insecure_channel(support.URL.removeprefix("http://"))
        cls.stub = pb_grpc.PubSubStub(cls.channel)
        cls.schemas = {}

    @classmethod
    def tearDownClass(cls):
        cls.channel.close()

    def topic(self, name, headers=None):
        return self.stub.GetTopic(pb.TopicRequest(topic_name=name), metadata=headers or self.headers)

    def schema(self, schema_id):
        if schema_id not in self.schemas:
            info = self.stub.GetSchema(pb.SchemaRequest(schema_id=schema_id), metadata=self.headers)
            self.assertEqual(info.schema_id, schema_id)
            schema = json.loads(info.schema_json)
            self.schemas[schema_id] = (fastavro.parse_schema(json.loads(info.schema_json)), schema)
        return self.schemas[schema_id]

    def decode(self, event):
        return fastavro.schemaless_reader(io.BytesIO(event.event.payload), self.schema(event.event.schema_id)[0])

    def subscribe(self, topic, preset, replay_id=b"", credits=100):
        """Events one by one; asks for more when what was asked for is used up."""
        asked = queue.SimpleQueue()
        asked.put(pb.FetchRequest(topic_name=topic, replay_preset=preset, replay_id=replay_id, num_requested=credits))
        stream = self.stub.Subscribe(iter(asked.get, None), metadata=self.headers, timeout=60)
        try:
            for answer in stream:
                self.assertEqual(len(answer.latest_replay_id), 10)
                yield from answer.events
                if answer.pending_num_requested == 0:
                    asked.put(pb.FetchRequest(num_requested=credits))
        finally:
            stream.cancel()
            asked.put(None)

    def of_record(self, topic, record_id, count):
        """The first events of a record, with their bytes."""
        found = []
        events = self.subscribe(topic, EARLIEST)
        while len(found) < count:
            event = next(events)
            value = self.decode(event)
            if record_id in value["ChangeEventHeader"]["recordIds"]:
                found.append((event, value))
        events.close()
        return found

    def test_changes_of_a_record_are_told_and_decoded_by_their_bitmaps(self):
        lead = {"LastName": "Ada", "Company": support.key("change"), "Phone": "1", "City": "Oslo"}
        lead_id = self.sf.Lead.create(lead)["id"]
        self.sf.Lead.update(lead_id, {"Phone": None, "Industry": "Energy", "City": "Bergen", "FirstName": "Eve"})
        self.sf.Lead.delete(lead_id)
        (first, create), (second, update), (_, delete) = self.of_record(LEADS, lead_id, 3)
        header = create["ChangeEventHeader"]
        self.assertEqual((header["changeType"], header["entityName"], header["recordIds"]), ("CREATE", "Lead", [lead_id]))
        self.assertEqual((header["commitUser"], header["changedFields"]), (self.user_id, []))
        self.assertEqual(header["changeOrigin"].split(";")[0], "com/salesforce/api/rest/62.0")
        self.assertGreater(header["commitNumber"], 2**53)
        self.assertEqual((create["Name"]["LastName"], create["Name"]["FirstName"]), ("Ada", None))
        self.assertEqual((create["Address"]["City"], create["Address"]["Street"]), ("Oslo", None))
        header, (_, schema) = update["ChangeEventHeader"], self.schema(second.event.schema_id)
        self.assertEqual(header["changeType"], "UPDATE")
        changed = ["Address.City", "Industry", "LastModifiedDate", "Name.FirstName", "Phone"]
        self.assertEqual(field_names(schema, header["changedFields"]), changed)
        self.assertEqual(field_names(schema, header["nulledFields"]), ["Phone"])
        self.assertEqual((update["Industry"], update["Address"]["City"], update["Phone"]), ("Energy", "Bergen", None))
        self.assertIsNone(update["Company"], "what did not change is not told")
        self.assertEqual((delete["ChangeEventHeader"]["changeType"], delete["Company"]), ("DELETE", None))
        self.assertEqual(first.event.schema_id, self.topic(LEADS).schema_id)

    def test_replay_after_any_event_gives_the_same_tail(self):
        ids = support.create_many(
            self.sf,
            [{"attributes": {"type": "Lead"}, "LastName": str(at), "Company": support.key("tail")} for at in range(150)],
        )
        (first, _), *_ = self.of_record(LEADS, ids[0], 1)
        whole = self.subscribe(LEADS, CUSTOM, first.replay_id, credits=7)
        tail = [next(whole) for _ in ids[1:]]
        whole.close()
        self.assertEqual([self.decode(event)["ChangeEventHeader"]["recordIds"] for event in tail], [[each] for each in ids[1:]])
        sequence = [self.decode(event)["ChangeEventHeader"]["sequenceNumber"] for event in tail]
        self.assertEqual(sequence, list(range(2, 151)))
        for at in (0, 73, 147):
            again = self.subscribe(LEADS, CUSTOM, tail[at].replay_id)
            for expected in tail[at + 1 :]:
                self.assertEqual(next(again), expected)
            again.close()

    def test_same_change_of_several_records_is_one_event(self):
        records = [{"attributes": {"type": "Lead"}, "LastName": "x", "Company": support.key("merged")} for _ in range(5)]
        ids = support.create_many(self.sf, records)
        body = {"records": [{"attributes": {"type": "Lead"}, "id": each, "Title": "Same"} for each in ids]}
        self.sf.restful("composite/sobjects", method="PATCH", json=body)
        (_, create), (_, update) = self.of_record(LEADS, ids[4], 2)
        self.assertEqual(create["ChangeEventHeader"]["recordIds"], [ids[4]])
        self.assertEqual((update["ChangeEventHeader"]["recordIds"], update["Title"]), (ids, "Same"))

    def test_platform_events_are_published_one_by_one_and_on_a_stream(self):
        topic = self.topic(SHIPPED)
        self.assertTrue(topic.can_publish and topic.can_subscribe)
        parsed, _ = self.schema(topic.schema_id)

        def event(order, id=""):
            out = io.BytesIO()
            now = int(time.time() * 1000)
            value = {"CreatedDate": now, "CreatedById": self.user_id, "Order__c": order, "Total__c": 7.5}
            fastavro.schemaless_writer(out, parsed, value)
            return pb.ProducerEvent(id=id, schema_id=topic.schema_id, payload=out.getvalue())

        broken = pb.ProducerEvent(id="broken", schema_id=topic.schema_id, payload=b"\x01")
        request = pb.PublishRequest(topic_name=SHIPPED, events=[event("A", "mine"), event("B"), broken])
        first, second, third = self.stub.Publish(request, metadata=self.headers).results
        self.assertEqual((first.correlation_key, len(first.replay_id), first.HasField("error")), ("mine", 10, False))
        self.assertEqual(len(second.correlation_key), 36)
        self.assertEqual((third.error.code, third.correlation_key, third.replay_id), (pb.ErrorCode.PUBLISH, "broken", b""))
        enqueued = self.sf.Shipped__e.create({"Order__c": "C"})["errors"][0]
        self.assertEqual(enqueued["statusCode"], "OPERATION_ENQUEUED")
        requests = [pb.PublishRequest(topic_name=SHIPPED, events=[event("D")]), pb.PublishRequest(events=[event("E")])]
        answers = list(self.stub.PublishStream(iter(requests), metadata=self.headers))
        self.assertEqual([len(answer.results) for answer in answers], [1, 1])
        events = self.subscribe(SHIPPED, CUSTOM, first.replay_id)
        got = [next(events) for _ in range(4)]
        events.close()
        self.assertEqual([self.decode(each)["Order__c"] for each in got], ["B", "C", "D", "E"])
        self.assertEqual([got[0].event.id, got[1].event.id], [second.correlation_key, enqueued["message"]])

    def refused(self, code, grpc_code, call):
        with self.assertRaises(grpc.RpcError) as raised:
            call()
        error = raised.exception
        trailers = dict(error.trailing_metadata())
        self.assertEqual(trailers.get("error-code"), f"sfdc.platform.eventbus.grpc.{code}")
        self.assertEqual(error.code(), grpc_code)
        self.assertIn(trailers["rpc-id"], error.details())

    def test_refusals_carry_their_codes_in_trailers(self):
        invalid = grpc.StatusCode.INVALID_ARGUMENT
        self.refused("topic.not.found", grpc.StatusCode.NOT_FOUND, lambda: self.topic("/data/Nothing"))
        first = lambda *arguments, **options: next(self.subscribe(LEADS, *arguments, **options))
        self.refused("subscription.fetch.requested.events.invalid", invalid, lambda: first(EARLIEST, credits=0))
        self.refused("subscription.fetch.replayid.validation.failed", invalid, lambda: first(CUSTOM))
        self.refused("subscription.fetch.replayid.corrupted", invalid, lambda: first(CUSTOM, b"\0" * 10))
        wrong = (("accesstoken", "x"), *self.headers[1:])
        self.refused("service.auth.error", grpc.StatusCode.UNAUTHENTICATED, lambda: self.topic(LEADS, wrong))
        self.assertEqual(self.topic("/data/ChangeEvents").schema_id, "", "several kinds of events have no one schema")
