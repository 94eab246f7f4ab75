"""Single records."""

import datetime
import unittest

import support
from simple_salesforce.exceptions import (
    SalesforceMalformedRequest,
    SalesforceMoreThanOneRecord,
    SalesforceResourceNotFound,
)


class Records(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.sf = support.log_in()

    def test_record_is_created_read_updated_and_deleted(self):
        code = support.key("crud")
        created = self.sf.Account.create({"Name": "Made by Python", "Code__c": code})
        self.assertEqual((created["success"], created["errors"], len(created["id"])), (True, [], 18))
        record = self.sf.Account.get(created["id"])
        self.assertEqual((record["Name"], record["Code__c"]), ("Made by Python", code))
        self.assertEqual(record["attributes"]["type"], "Account")
        self.assertEqual(self.sf.Account.get_by_custom_id("Code__c", code)["Id"], created["id"])
        self.assertEqual(self.sf.Account.update(created["id"], {"Name": "Änder ✓", "Phone": None}), 204)
        self.assertEqual(self.sf.Account.get(created["id"])["Name"], "Änder ✓")
        self.assertEqual(self.sf.Account.delete(created["id"]), 204)
        with self.assertRaises(SalesforceResourceNotFound) as raised:
            self.sf.Account.get(created["id"])
        self.assertEqual(raised.exception.content[0]["errorCode"], "ENTITY_IS_DELETED")

    def test_upsert_creates_then_updates(self):
        code = support.key("upsert")
        self.assertEqual(self.sf.Account.upsert(f"Code__c/{code}", {"Name": "one"}), 201)
        self.assertEqual(self.sf.Account.upsert(f"Code__c/{code}", {"Name": "two"}), 200)
        found = self.sf.query(f"SELECT Name FROM Account WHERE Code__c = '{code}'")
        self.assertEqual([record["Name"] for record in found["records"]], ["two"])

    def test_upsert_by_a_key_of_several_records_says_so(self):
        email = f"{support.key('same')}@example.com"
        for _ in range(2):
            self.sf.Contact.create({"LastName": "Same", "Email": email})
        with self.assertRaises(SalesforceMoreThanOneRecord) as raised:
            self.sf.Contact.upsert(f"Email/{email}", {"LastName": "Other"})
        self.assertEqual(len(raised.exception.content), 2)
        self.assertIn("/sobjects/Contact/003", raised.exception.content[0])

    def test_refusals_carry_salesforces_codes(self):
        cases = [
            (lambda: self.sf.Account.create({}), SalesforceMalformedRequest, "REQUIRED_FIELD_MISSING"),
            (lambda: self.sf.Account.create({"Name": "n", "Nope__c": 1}), SalesforceMalformedRequest, "INVALID_FIELD"),
            (lambda: self.sf.Contact.create({"LastName": "n", "Email": "x"}), SalesforceMalformedRequest, "INVALID_EMAIL_ADDRESS"),
            (lambda: self.sf.Nothing__c.create({}), SalesforceResourceNotFound, "NOT_FOUND"),
            (lambda: self.sf.query("SELECT Nope FROM Account"), SalesforceMalformedRequest, "INVALID_FIELD"),
            (lambda: self.sf.query("SELEKT"), SalesforceMalformedRequest, "MALFORMED_QUERY"),
        ]
        for call, error, code in cases:
            with self.assertRaises(error) as raised:
                call()
            self.assertEqual(raised.exception.content[0]["errorCode"], code)

    def test_updated_and_deleted_list_what_changed(self):
        kept = self.sf.Account.create({"Name": "kept"})["id"]
        gone = self.sf.Account.create({"Name": "gone"})["id"]
        self.sf.Account.delete(gone)
        now = datetime.datetime.now(datetime.timezone.utc)
        start, end = now - datetime.timedelta(minutes=10), now + datetime.timedelta(minutes=10)
        updated = self.sf.Account.updated(start, end)
        self.assertIn(kept, updated["ids"])
        self.assertNotIn(gone, updated["ids"])
        deleted = self.sf.Account.deleted(start, end)
        self.assertIn(gone, [record["id"] for record in deleted["deletedRecords"]])
        self.assertTrue(deleted["latestDateCovered"].endswith(":00.000+0000"))

    def test_composite_is_reached_through_restful(self):
        base = f"/services/data/v{support.VERSION}/sobjects"
        body = {"allOrNone": True, "compositeRequest": [
            {"method": "POST", "url": f"{base}/Account", "referenceId": "a", "body": {"Name": "composite"}},
            {"method": "POST", "url": f"{base}/Contact", "referenceId": "c",
             "body": {"LastName": "Lee", "AccountId": "@{a.id}"}},
        ]}
        parts = self.sf.restful("composite", method="POST", json=body)["compositeResponse"]
        self.assertEqual([part["httpStatusCode"] for part in parts], [201, 201])
        self.assertEqual(self.sf.Contact.get(parts[1]["body"]["id"])["AccountId"], parts[0]["body"]["id"])


if __name__ == "__main__":
    unittest.main()
