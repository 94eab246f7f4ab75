//! A Salesforce org on loopback that speaks the real wire protocols
