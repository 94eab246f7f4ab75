//! Configured routes and the source's tables → `pipeline::spec::RouteSpec`.

use super::router::{api_setting, operation};
use crate::config::{
    CoalesceConfig, Config, DeletesConfig, MapValue, OrderingConfig, Places, RetryConfig, RouteConfig, TooLargeConfig,
    TruncatePolicy as TruncateConfig, WordOrCel,
};
use model::{Finding, Lane, ObjectName, OrgId, RouteId, StreamId, StreamPartition, TableName, TableSchema};
use pipeline::spec::{
    BatchSpec, Coalesce, DeletePolicy, LaneSpec, MapSource, Ordering, ReferenceSpec, RouteSpec, TooLarge,
    TruncatePolicy,
};

/// Builds every route whose table was described; the others are findings. Order: by name.
pub fn route_specs(config: &Config, tables: &[TableSchema], places: &Places) -> (Vec<RouteSpec>, Vec<Finding>) {
    let (mut specs, mut findings) = (Vec::new(), Vec::new());
    for (name, route) in &config.routes {
        let Ok(table) = TableName::parse(&route.table) else { continue };
        match tables.iter().find(|schema| schema.table == table) {
            Some(schema) => specs.extend(route_spec(config, name, route, schema)),
            None => findings.push(Finding::error(
                "PS1007",
                places.describe(&format!("routes.{name}.table")),
                format!("the source does not describe table {table}"),
                "see what `penstock check` says of the source",
            )),
        }
    }
    (specs, findings)
}

/// None when a name does not meet; the configuration's cross checks have said so.
fn route_spec(config: &Config, name: &str, route: &RouteConfig, schema: &TableSchema) -> Option<RouteSpec> {
    let stream = config.streams.get(&route.stream)?;
    let source = config.sources.get(&stream.from)?;
    let key = stream.keys.iter().find(|(table, _)| TableName::parse(table).is_ok_and(|t| t == schema.table))?.1;
    let map = route.map.iter().map(|(field, value)| (field.clone(), map_source(value))).collect();
    Some(RouteSpec {
        id: RouteId::new(name),
        stream: StreamPartition::first(StreamId::new(&route.stream)),
        table: schema.table.clone(),
        schema: schema.clone(),
        value_mode: source.json.into(),
        key: key.clone(),
        org: OrgId::new(&route.to.org),
        object: ObjectName::new(&route.to.object),
        operation: operation(route.to.operation),
        external_id: route.to.external_id.clone(),
        position_field: route.to.position_field.clone(),
        map,
        references: references(route),
        filter: route.filter.as_ref().map(|filter| filter.cel.clone()),
        deletes: deletes(&route.deletes),
        truncate: match route.truncate {
            TruncateConfig::Refuse => TruncatePolicy::Refuse,
            TruncateConfig::Ignore => TruncatePolicy::Ignore,
        },
        lane: lane(&route.lane),
        deadline: route.deadline.0,
        api: api_setting(route.api),
        ordering: match route.ordering {
            OrderingConfig::Key => Ordering::Key,
            OrderingConfig::Fifo => Ordering::Fifo,
            OrderingConfig::None => Ordering::None,
            OrderingConfig::Transaction => Ordering::Transaction,
        },
        too_large: match route.too_large {
            TooLargeConfig::Refuse => TooLarge::Refuse,
            TooLargeConfig::ByKey => TooLarge::ByKey,
        },
        coalesce: match route.coalesce {
            CoalesceConfig::Never => Coalesce::Never,
            CoalesceConfig::Latest => Coalesce::Latest,
        },
        batch: BatchSpec {
            rows_max: route.batch.rows,
            bytes_max: route.batch.bytes.0 as usize,
            linger: route.batch.linger.0,
        },
        parallel: route.parallel,
        retry: RetryConfig::resolve(&config.retry, &route.retry),
        secret: config.secret_columns(name),
    })
}

fn map_source(value: &MapValue) -> MapSource {
    match value {
        MapValue::Column(name) => MapSource::Column(name.clone()),
        MapValue::Constant(value) => MapSource::Constant(value.clone()),
        MapValue::Cel(text) => MapSource::Cel(text.clone()),
        MapValue::Change(part) => MapSource::Change(*part),
    }
}

fn references(route: &RouteConfig) -> Vec<ReferenceSpec> {
    let parsed = route.references.iter().filter_map(|(object, reference)| {
        Some(ReferenceSpec {
            object: ObjectName::new(object),
            external_id: reference.external_id.clone(),
            from: reference.from.clone(),
            table: TableName::parse(&reference.table).ok()?,
            field: reference.field.clone(),
            locks: reference.locks,
        })
    });
    parsed.collect()
}

fn deletes(deletes: &DeletesConfig) -> DeletePolicy {
    match deletes {
        DeletesConfig::Delete => DeletePolicy::Delete,
        DeletesConfig::Ignore => DeletePolicy::Ignore,
        DeletesConfig::Create => DeletePolicy::Create,
        DeletesConfig::Set(fields) => match fields.iter().next() {
            Some((field, value)) => DeletePolicy::Set { field: field.clone(), value: value.clone() },
            None => DeletePolicy::Ignore,
        },
    }
}

fn lane(lane: &WordOrCel) -> LaneSpec {
    match lane {
        WordOrCel::Word(word) => LaneSpec::Constant(Lane::from_word(word).unwrap_or_default()),
        WordOrCel::Cel(text) => LaneSpec::Cel(text.clone()),
    }
}
