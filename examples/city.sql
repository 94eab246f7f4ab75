-- Tables for examples/city.yaml. The first 1,000 rows of New York's 311 service requests are loaded with
--   \copy city.raw from 'nyc-311-service-requests.csv' csv header
-- and then turned into agencies and requests by the statements at the end.
create schema if not exists city;

create table city.agency (
  code text primary key,
  name text not null
);

create table city.service_request (
  unique_key bigint primary key,
  agency text not null references city.agency (code),
  created_date timestamptz not null,
  closed_date timestamptz,
  complaint_type text not null,
  descriptor text,
  status text not null,
  borough text,
  incident_zip text,
  incident_address text,
  resolution_description text,
  latitude double precision,
  longitude double precision
);
-- Deletes and changes of agency then carry the agency, so that they stay in order with it.
alter table city.service_request replica identity full;

create unlogged table city.raw (
  "Unique Key" text, "Created Date" text, "Closed Date" text, "Agency" text, "Agency Name" text, "Complaint Type" text,
  "Descriptor" text, "Location Type" text, "Incident Zip" text, "Incident Address" text, "Street Name" text,
  "Cross Street 1" text, "Cross Street 2" text, "Intersection Street 1" text, "Intersection Street 2" text,
  "Address Type" text, "City" text, "Landmark" text, "Facility Type" text, "Status" text, "Due Date" text,
  "Resolution Description" text, "Resolution Action Updated Date" text, "Community Board" text, "BBL" text,
  "Borough" text, "X Coordinate (State Plane)" text, "Y Coordinate (State Plane)" text, "Open Data Channel Type" text,
  "Park Facility Name" text, "Park Borough" text, "Vehicle Type" text, "Taxi Company Borough" text,
  "Taxi Pick Up Location" text, "Bridge Highway Name" text, "Bridge Highway Direction" text, "Road Ramp" text,
  "Bridge Highway Segment" text, "Latitude" text, "Longitude" text, "Location" text
);
