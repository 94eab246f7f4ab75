-- After city.raw was filled: agencies first, then their requests.
insert into city.agency (code, name)
select "Agency", min("Agency Name") from city.raw group by "Agency"
on conflict (code) do nothing;

insert into city.service_request
select "Unique Key"::bigint, "Agency",
       to_timestamp("Created Date", 'MM/DD/YYYY HH12:MI:SS AM'),
       to_timestamp(nullif("Closed Date", ''), 'MM/DD/YYYY HH12:MI:SS AM'),
       "Complaint Type", nullif("Descriptor", ''), "Status", nullif("Borough", ''), nullif("Incident Zip", ''),
       nullif("Incident Address", ''), nullif("Resolution Description", ''),
       nullif("Latitude", '')::double precision, nullif("Longitude", '')::double precision
from city.raw
on conflict (unique_key) do nothing;
