"""Ways to come by a session."""

import unittest

import support
from simple_salesforce import Salesforce, SalesforceLogin
from simple_salesforce.exceptions import SalesforceAuthenticationFailed, SalesforceExpiredSession


class Login(unittest.TestCase):
    def test_soap_login_gives_session_and_instance(self):
        session_id, instance = SalesforceLogin(
            username=support.USERNAME, password=support.PASSWORD, security_token="", session=support.session()
        )
        self.assertTrue(session_id.startswith("00D") and "!" in session_id)
        self.assertEqual(f"http://{instance}", support.URL)

    def test_soap_login_with_a_wrong_password_tells_salesforces_code(self):
        with self.assertRaises(SalesforceAuthenticationFailed) as raised:
            Salesforce(
                username=support.USERNAME, password="wrong", security_token="x", session=support.session()
            )
        self.assertEqual(raised.exception.code, "INVALID_LOGIN")
        self.assertIn("Invalid username, password, security token", str(raised.exception))

    def test_ip_filtered_login_with_organization_id_works(self):
        sf = Salesforce(
            username=support.USERNAME, password=support.PASSWORD, organizationId="00D000000000000", session=support.session()
        )
        self.assertEqual(sf.query("SELECT COUNT() FROM User")["done"], True)

    def test_password_flow_and_client_credentials_and_session_id_work(self):
        by_password = Salesforce(
            username=support.USERNAME, password=support.PASSWORD, consumer_key=support.CLIENT_ID,
            consumer_secret=support.CLIENT_SECRET, session=support.session(), version=support.VERSION,
        )
        by_client = Salesforce(
            consumer_key=support.CLIENT_ID, consumer_secret=support.CLIENT_SECRET, domain="my-org.my",
            session=support.session(), version=support.VERSION,
        )
        for sf in (by_password, by_client):
            direct = Salesforce(
                session_id=sf.session_id, instance_url=support.URL, session=support.session(), version=support.VERSION
            )
            self.assertEqual(direct.oauth2("userinfo")["preferred_username"], support.USERNAME)

    def test_organization_tells_edition_and_that_it_is_no_sandbox(self):
        sf = support.log_in()
        self.assertIs(sf.is_sandbox(), False)
        [org] = sf.query("SELECT Id, OrganizationType FROM Organization")["records"]
        self.assertEqual(org["OrganizationType"], "Enterprise Edition")
        self.assertEqual(org["Id"], sf.oauth2("userinfo")["organization_id"])

    def test_wrong_consumer_secret_is_told_as_oauth_error(self):
        with self.assertRaises(SalesforceAuthenticationFailed) as raised:
            Salesforce(
                consumer_key=support.CLIENT_ID, consumer_secret="wrong", domain="my-org.my", session=support.session()
            )
        self.assertEqual(raised.exception.code, "invalid_client")

    def test_ended_session_is_renewed_by_login_and_told_without_one(self):
        sf = support.log_in()
        direct = Salesforce(session_id=sf.session_id, instance_url=support.URL, session=support.session())
        old = sf.session_id
        sf.oauth2("revoke", {"token": old}, method="POST")
        with self.assertRaises(SalesforceExpiredSession) as raised:
            direct.query("SELECT Id FROM User LIMIT 1")
        self.assertEqual(raised.exception.content[0]["errorCode"], "INVALID_SESSION_ID")
        self.assertEqual(sf.query("SELECT Id FROM User LIMIT 1")["totalSize"], 1)
        self.assertNotEqual(sf.session_id, old)


if __name__ == "__main__":
    unittest.main()
