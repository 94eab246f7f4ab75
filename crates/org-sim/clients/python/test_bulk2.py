"""Bulk API 2.0."""

import csv
import io
import tempfile
import unittest
from pathlib import Path

import support
from simple_salesforce.bulk2 import ColumnDelimiter, LineEnding
from simple_salesforce.exceptions import SalesforceMalformedRequest, SalesforceOperationError


def rows(text, delimiter=","):
    return list(csv.DictReader(io.StringIO(text), delimiter=delimiter))


class Bulk2(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.sf = support.log_in()

    def done(self, results):
        """Adds up the jobs of a load: processed and failed rows, and the jobs' ids."""
        processed = sum(result["numberRecordsProcessed"] for result in results)
        failed = sum(result["numberRecordsFailed"] for result in results)
        return processed, failed, [result["job_id"] for result in results]

    def test_insert_update_upsert_delete_and_query_agree(self):
        mark = support.key("bulk2")
        records = [{"Name": mark, "Code__c": f"{mark}-{n}", "Phone": str(n)} for n in range(1_200)]
        processed, failed, jobs = self.done(self.sf.bulk2.Account.insert(records=records, batch_size=500, concurrency=3, wait=0))
        self.assertEqual((processed, failed, len(jobs)), (1_200, 0, 3))
        created = [row for job in jobs for row in rows(self.sf.bulk2.Account.get_successful_records(job))]
        ids = {row["Code__c"]: row["sf__Id"] for row in created}
        self.assertEqual(len(ids), 1_200)
        self.assertEqual({row["sf__Created"] for row in created}, {"true"})
        found = {r["Code__c"]: r["Id"] for r in self.sf.query_all_iter(f"SELECT Id, Code__c FROM Account WHERE Name = '{mark}'")}
        self.assertEqual(found, ids)

        changes = [{"Id": id, "Phone": "#N/A", "Fax": "x"} for id in list(ids.values())[:10]]
        self.assertEqual(self.done(self.sf.bulk2.Account.update(records=changes, wait=0))[:2], (10, 0))
        self.assertEqual(self.sf.query(f"SELECT COUNT() FROM Account WHERE Name = '{mark}' AND Phone = NULL AND Fax = 'x'")["totalSize"], 10)

        again = [{"Name": mark, "Code__c": f"{mark}-{n}"} for n in range(1_195, 1_205)]
        processed, failed, jobs = self.done(self.sf.bulk2.Account.upsert(records=again, external_id_field="Code__c", wait=0))
        self.assertEqual((processed, failed), (10, 0))
        made = [row["sf__Created"] for row in rows(self.sf.bulk2.Account.get_successful_records(jobs[0]))]
        self.assertEqual(sorted(made), ["false"] * 5 + ["true"] * 5)

        pages = list(self.sf.bulk2.Account.query(f"SELECT Id, Code__c FROM Account WHERE Name = '{mark}' ORDER BY Id", max_records=500, wait=0))
        self.assertEqual([len(rows(page)) for page in pages], [500, 500, 205])
        self.assertEqual(len({row["Id"] for page in pages for row in rows(page)}), 1_205)

        gone = [{"Id": id} for id in ids.values()]
        self.assertEqual(self.done(self.sf.bulk2.Account.delete(records=gone, wait=0))[:2], (1_200, 0))
        self.assertEqual(self.sf.query(f"SELECT COUNT() FROM Account WHERE Name = '{mark}'")["totalSize"], 5)
        everything = "".join(self.sf.bulk2.Account.query_all(f"SELECT IsDeleted FROM Account WHERE Name = '{mark}'", wait=0))
        self.assertEqual(sum(row["IsDeleted"] == "true" for row in rows(everything)), 1_200)

    def test_failed_rows_come_with_their_error_and_as_they_were_sent(self):
        mark = support.key("bad")
        records = [{"Name": mark, "Website": "a,\"b\"\nc"}, {"Name": "", "Website": "no name"}]
        processed, failed, jobs = self.done(self.sf.bulk2.Account.insert(records=records, wait=0))
        self.assertEqual((processed, failed), (2, 1))
        # get_all_ingest_records would split the text at the line break inside the quotes.
        good = rows(self.sf.bulk2.Account.get_successful_records(jobs[0]))
        self.assertEqual([row["Website"] for row in good], ["a,\"b\"\nc"])
        results = self.sf.bulk2.Account.get_all_ingest_records(jobs[0])
        [bad] = results["failedRecords"]
        self.assertEqual((bad["Website"], bad["sf__Id"]), ("no name", ""))
        self.assertTrue(bad["sf__Error"].startswith("REQUIRED_FIELD_MISSING:"), bad)
        self.assertEqual(results["unprocessedRecords"], [])
        self.assertEqual(self.sf.query(f"SELECT Website FROM Account WHERE Name = '{mark}'")["records"][0]["Website"], "a,\"b\"\nc")

    def test_delimiters_line_endings_files_and_downloads(self):
        mark = support.key("file")
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "in.csv"
            path.write_bytes(f"Name|Code__c\r\n{mark}|{mark}-1\r\n{mark}|{mark}-2\r\n".encode())
            loaded = self.sf.bulk2.Account.insert(
                csv_file=str(path), column_delimiter=ColumnDelimiter.PIPE, line_ending=LineEnding.CRLF, wait=0
            )
            self.assertEqual(self.done(loaded)[:2], (2, 0))
            results = self.sf.bulk2.Account.download(
                f"SELECT Code__c FROM Account WHERE Name = '{mark}' ORDER BY Code__c", path=folder,
                column_delimiter=ColumnDelimiter.TAB, wait=0,
            )
            text = Path(results[0]["file"]).read_text()
        self.assertEqual([row["Code__c"] for row in rows(text, "\t")], [f"{mark}-1", f"{mark}-2"])

    def test_relationship_columns_find_parents_by_external_id(self):
        code = support.key("parent")
        account = self.sf.Account.create({"Name": "n", "Code__c": code})["id"]
        records = [{"Key__c": support.key("child"), "Account__r.Code__c": code, "Amount__c": "1.50"}]
        self.assertEqual(self.done(self.sf.bulk2.Deal__c.insert(records=records, wait=0))[:2], (1, 0))
        found = self.sf.query(f"SELECT Account__c, Amount__c FROM Deal__c WHERE Key__c = '{records[0]['Key__c']}'")["records"][0]
        self.assertEqual((found["Account__c"], found["Amount__c"]), (account, 1.5))

    def test_refused_and_failed_jobs_are_told(self):
        with self.assertRaises(SalesforceMalformedRequest) as raised:
            list(self.sf.bulk2.Account.query("SELECT Nope FROM Account", wait=0))
        self.assertIn("Nope", str(raised.exception.content))
        with self.assertRaises(SalesforceOperationError):
            self.sf.bulk2.Account.insert(records=[{"Nope__c": "1"}], wait=0)


if __name__ == "__main__":
    unittest.main()
