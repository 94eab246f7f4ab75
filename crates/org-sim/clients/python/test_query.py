"""Queries: pages, iterators, children, aggregates, what was deleted."""

import unittest

import support
from simple_salesforce import format_soql


class Query(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.sf = support.log_in()
        cls.mark = support.key("query")
        cls.rows = 4_500
        record = lambda n: {"attributes": {"type": "Account"}, "Name": cls.mark, "Code__c": f"{cls.mark}-{n}", "NumberOfEmployees": n}
        cls.ids = support.create_many(cls.sf, [record(n) for n in range(cls.rows)])

    def test_query_gives_one_page_and_query_more_the_next(self):
        page = self.sf.query(f"SELECT Code__c FROM Account WHERE Name = '{self.mark}'")
        self.assertEqual((page["totalSize"], page["done"], len(page["records"])), (self.rows, False, 2000))
        self.assertRegex(page["nextRecordsUrl"], r"^/services/data/v62\.0/query/01g\w{15}-2000$")
        second = self.sf.query_more(page["nextRecordsUrl"], identifier_is_url=True)
        self.assertEqual((second["done"], len(second["records"])), (False, 2000))
        third = self.sf.query_more(second["nextRecordsUrl"].rsplit("/", 1)[1])
        self.assertEqual((third["done"], len(third["records"])), (True, 500))
        self.assertNotIn("nextRecordsUrl", third)

    def test_query_all_and_its_iterator_see_each_row_once(self):
        soql = f"SELECT Id, NumberOfEmployees FROM Account WHERE Name = '{self.mark}' ORDER BY NumberOfEmployees DESC"
        whole = self.sf.query_all(soql)
        self.assertEqual((whole["totalSize"], whole["done"]), (self.rows, True))
        numbers = [record["NumberOfEmployees"] for record in whole["records"]]
        self.assertEqual(numbers, list(range(self.rows - 1, -1, -1)))
        seen = [record["Id"] for record in self.sf.query_all_iter(soql)]
        self.assertEqual(sorted(seen), sorted(self.ids))

    def test_quoted_values_are_found_as_they_are(self):
        name = "O'Neil \\ \"%\" \n ✓"
        code = support.key("quoted")
        self.sf.Account.create({"Name": name, "Code__c": code})
        found = self.sf.query(format_soql("SELECT Code__c FROM Account WHERE Name = {} AND Code__c IN {}", name, [code, "x"]))
        self.assertEqual([record["Code__c"] for record in found["records"]], [code])
        found = self.sf.query(format_soql("SELECT COUNT() FROM Account WHERE Code__c LIKE '{:like}%'", code))
        self.assertEqual(found["totalSize"], 1)

    def test_children_parents_and_aggregates(self):
        account = self.sf.Account.create({"Name": support.key("family")})["id"]
        for n, tags in enumerate(["Red", "Red;Blue", None]):
            self.sf.Deal__c.create({"Account__c": account, "Amount__c": n + 0.5, "Tags__c": tags})
        row = self.sf.query(
            f"SELECT Name, (SELECT Amount__c, Account__r.Name FROM Deals__r ORDER BY Amount__c DESC) FROM Account WHERE Id = '{account}'"
        )["records"][0]
        self.assertEqual([deal["Amount__c"] for deal in row["Deals__r"]["records"]], [2.5, 1.5, 0.5])
        self.assertEqual(row["Deals__r"]["records"][0]["Account__r"]["Name"], row["Name"])
        groups = self.sf.query(
            f"SELECT Account__r.Name, COUNT(Id), SUM(Amount__c) total FROM Deal__c WHERE Account__c = '{account}' "
            "AND CreatedDate = TODAY GROUP BY Account__r.Name HAVING COUNT(Id) = 3"
        )["records"]
        self.assertEqual([(g["Name"], g["expr0"], g["total"]) for g in groups], [(row["Name"], 3, 4.5)])
        red = self.sf.query(f"SELECT COUNT() FROM Deal__c WHERE Account__c = '{account}' AND Tags__c INCLUDES ('Red')")
        self.assertEqual((red["totalSize"], red["records"]), (2, []))

    def test_deleted_rows_are_seen_only_when_asked_for(self):
        code = support.key("bin")
        self.sf.Account.delete(self.sf.Account.create({"Name": "n", "Code__c": code})["id"])
        soql = f"SELECT IsDeleted FROM Account WHERE Code__c = '{code}'"
        self.assertEqual(self.sf.query_all(soql)["totalSize"], 0)
        found = self.sf.query_all(soql, include_deleted=True)
        self.assertEqual([record["IsDeleted"] for record in found["records"]], [True])


if __name__ == "__main__":
    unittest.main()
