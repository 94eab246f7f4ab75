"""Bulk API 1.0."""

import unittest

import support


class Bulk1(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.sf = support.log_in()

    def test_insert_update_upsert_delete_and_query_agree(self):
        mark = support.key("bulk1")
        records = [{"Name": mark, "Code__c": f"{mark}-{n}", "NumberOfEmployees": n} for n in range(300)]
        created = self.sf.bulk.Account.insert(records, batch_size=100)
        self.assertEqual(len(created), 300)
        self.assertTrue(all(result["success"] and result["created"] and not result["errors"] for result in created))
        found = self.sf.query_all(f"SELECT Id, Code__c FROM Account WHERE Name = '{mark}' ORDER BY NumberOfEmployees")["records"]
        self.assertEqual([record["Id"] for record in found], [result["id"] for result in created], "results keep the order")
        updated = self.sf.bulk.Account.update([{"Id": created[0]["id"], "Phone": "1"}, {"Id": created[1]["id"], "Name": None}])
        self.assertEqual([result["success"] for result in updated], [True, False])
        self.assertEqual(updated[1]["errors"][0]["statusCode"], "REQUIRED_FIELD_MISSING")
        upserted = self.sf.bulk.Account.upsert(
            [{"Code__c": f"{mark}-0", "Phone": "2"}, {"Code__c": f"{mark}-new", "Name": mark}], "Code__c"
        )
        self.assertEqual([result["created"] for result in upserted], [False, True])
        queried = self.sf.bulk.Account.query(f"SELECT Code__c, Phone FROM Account WHERE Name = '{mark}' ORDER BY Code__c")
        self.assertEqual(len(queried), 301)
        self.assertEqual({row["Code__c"]: row["Phone"] for row in queried}[f"{mark}-0"], "2")
        deleted = self.sf.bulk.Account.delete([{"Id": result["id"]} for result in created])
        self.assertTrue(all(result["success"] for result in deleted))
        self.assertEqual(self.sf.query(f"SELECT COUNT() FROM Account WHERE Name = '{mark}'")["totalSize"], 1)
        whole = self.sf.bulk.Account.query_all(f"SELECT Id FROM Account WHERE Name = '{mark}'")
        self.assertEqual(len(whole), 301)

    def test_submit_dml_tells_each_row(self):
        mark = support.key("dml")
        results = self.sf.bulk.submit_dml("Account", "insert", [{"Name": mark}, {"Phone": "no name"}])
        self.assertEqual([result["success"] for result in results], [True, False])
        self.assertEqual(self.sf.query(f"SELECT COUNT() FROM Account WHERE Name = '{mark}'")["totalSize"], 1)


if __name__ == "__main__":
    unittest.main()
