//! Platform events that come as records: any API's create of a `…__e` ends here.

use super::avro::Datum;
use super::change::uuid;
use super::feed::Fresh;
use crate::dml::RowError;
use crate::ids::SfId;
use crate::schema::Object;
use crate::store::Row;
use std::sync::Arc;

/// The EventUuid of a publication by the id that its answer carries; none for the id of a record.
///
/// A publication's answer is a success that carries an error entry: `OPERATION_ENQUEUED` with this as its message.
pub fn enqueued(id: SfId) -> Option<String> {
    (id.prefix()[0] == b'e').then(|| uuid(id.as_str().as_bytes()))
}

impl super::Feed {
    /// Publishes a row of a platform event; `used` is told whether the hour's allocation still has room.
    ///
    /// # Errors
    /// `LIMIT_EXCEEDED`; nothing was published.
    pub fn publish_row(&mut self, object: &Object, row: &mut Row, now_ms: i64) -> Result<SfId, RowError> {
        if self.allowance == 0 {
            return Err(RowError::new("LIMIT_EXCEEDED", "The hourly limit of published platform events is reached"));
        }
        self.allowance -= 1;
        self.used += 1;
        let id = SfId::new(object.prefix, self.next_event());
        row.id = id;
        let schema = self.schema(object);
        let mut values: Vec<Datum> =
            (0..schema.members().len()).map(|position| schema.value(object, row, position)).collect();
        values[0] = Datum::Long(now_ms);
        let fresh = Fresh {
            payload: schema.encode(values).into(),
            schema,
            change: None,
            records: Arc::new([]),
            uuid: uuid(id.as_str().as_bytes()).into(),
            at_ms: now_ms,
        };
        self.publish(fresh, object.publish_at_once);
        Ok(id)
    }
}
