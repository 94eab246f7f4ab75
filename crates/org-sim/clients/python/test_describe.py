"""Describe, limits, and the usage that every answer carries."""

import unittest

import support


class Describe(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.sf = support.log_in()

    def test_global_describe_lists_objects(self):
        described = self.sf.describe()
        by_name = {each["name"]: each for each in described["sobjects"]}
        self.assertEqual(described["maxBatchSize"], 200)
        self.assertEqual((by_name["Account"]["keyPrefix"], by_name["Account"]["custom"]), ("001", False))
        self.assertTrue(by_name["Deal__c"]["custom"])

    def test_object_describe_lists_fields_and_children(self):
        described = self.sf.Account.describe()
        fields = {field["name"]: field for field in described["fields"]}
        code = fields["Code__c"]
        self.assertEqual((code["type"], code["length"], code["externalId"], code["unique"]), ("string", 40, True, True))
        self.assertEqual(fields["ParentId"]["referenceTo"], ["Account"])
        children = [(c["childSObject"], c["field"], c["relationshipName"]) for c in described["childRelationships"]]
        self.assertIn(("Contact", "AccountId", "Contacts"), children)
        self.assertIn(("Deal__c", "Account__c", "Deals__r"), children)
        tags = {f["name"]: f for f in self.sf.Deal__c.describe()["fields"]}["Tags__c"]
        self.assertEqual((tags["type"], [v["value"] for v in tags["picklistValues"]]), ("multipicklist", ["Red", "Green", "Blue"]))

    def test_metadata_names_the_object(self):
        self.assertEqual(self.sf.Account.metadata()["objectDescribe"]["name"], "Account")

    def test_limits_follow_the_edition_and_licences(self):
        limits = self.sf.limits()
        self.assertEqual(limits["DailyApiRequests"]["Max"], 200_000)
        self.assertLess(limits["DailyApiRequests"]["Remaining"], 200_000)
        for name, maximum in [
            ("DailyBulkApiBatches", 15_000),
            ("DailyBulkV2QueryJobs", 10_000),
            ("HourlyPublishedPlatformEvents", 250_000),
            ("DailyDeliveredPlatformEvents", 25_000),
        ]:
            self.assertEqual(limits[name]["Max"], maximum, name)

    def test_usage_of_each_answer_is_counted(self):
        self.sf.limits()
        before = self.sf.api_usage["api-usage"]
        self.sf.limits()
        after = self.sf.api_usage["api-usage"]
        self.assertEqual((after.used - before.used, after.total), (1, 200_000))


if __name__ == "__main__":
    unittest.main()
