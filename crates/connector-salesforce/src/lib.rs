//! Salesforce as a sink: sessions, describe, sObject Collections, error table
