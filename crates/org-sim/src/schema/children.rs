//! The names by which a parent knows its children: `Contacts`, `Order_Lines__r`.

use super::{Field, Object};
use crate::store::Store;
use std::sync::Arc;

/// Names that do not follow from the child's plural label: child, field, name; no name for none.
const STANDARD: [(&str, &str, &str); 6] = [
    ("Account", "ParentId", "ChildAccounts"),
    ("Contact", "ReportsToId", ""),
    ("Campaign", "ParentId", "ChildCampaigns"),
    ("OrderItem", "OrderId", "OrderItems"),
    ("OrderItem", "Product2Id", "OrderItems"),
    ("Order", "OriginalOrderId", "ReductionOrders"),
];

/// The relationship from parent to child through a lookup `field` of `child`; none when the parent has no name for it.
///
/// A lookup to users that the system fills (`OwnerId`, `CreatedById`, …) has none. Two custom lookups from one object to
/// the same parent are told apart by a number, as Salesforce's setup proposes it.
pub fn name(child: &Object, field: &Field) -> Option<String> {
    let reference = field.reference.as_ref()?;
    if let Some((_, _, name)) =
        STANDARD.iter().find(|(object, known, _)| *object == &*child.name && *known == &*field.name)
    {
        return (!name.is_empty()).then(|| (*name).to_owned());
    }
    // What became of a merged or converted row is no relationship of its parent.
    if &*field.name == crate::dml::MASTER_FIELD || field.name.starts_with("Converted") {
        return None;
    }
    let plural: String =
        child.plural.chars().filter(|letter| letter.is_ascii_alphanumeric() || *letter == '_').collect();
    if !field.custom() {
        let to_user = reference.to.iter().any(|to| &**to == "User");
        return (!to_user).then_some(plural);
    }
    let same_target = |other: &&Field| other.custom() && shares_target(other, &reference.to);
    let before = child.fields.iter().take_while(|other| other.name != field.name).filter(same_target).count();
    Some(if before == 0 { format!("{plural}__r") } else { format!("{plural}{before}__r") })
}

fn shares_target(field: &Field, targets: &[Arc<str>]) -> bool {
    field.reference.as_ref().is_some_and(|reference| reference.to.iter().any(|to| targets.contains(to)))
}

/// Finds the child object and its lookup by the name that the object of table `parent` has for them.
pub fn find(store: &Store, parent: usize, relationship: &str) -> Option<(usize, u16)> {
    let parent = &store.table(parent).object.name;
    store.tables().iter().enumerate().find_map(|(number, table)| {
        let fields = table.object.fields.iter().enumerate();
        let mut to_parent =
            fields.filter(|(_, field)| field.reference.as_ref().is_some_and(|reference| reference.to.contains(parent)));
        let named = |field: &Field| name(&table.object, field).is_some_and(|n| n.eq_ignore_ascii_case(relationship));
        to_parent.find(|(_, field)| named(field)).map(|(field, _)| (number, field as u16))
    })
}
