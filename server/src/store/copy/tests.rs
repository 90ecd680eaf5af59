//! That a copy is equal, complete, and never made over something.

use super::*;
use crate::store::plain::Shared;
use crate::store::suite::{add_person, add_prompt, fill, on_each_database, open_in, postgres, rows_for};
use crate::store::{Generation, PromptRow};
use promptroom_protocol::Role;
use std::collections::BTreeSet;

/// Something in every table.
async fn filled(store: &Store) -> PromptRow {
    let ada = add_person(store, "Ada", Role::Owner).await;
    let prompt = add_prompt(store, &ada, "one").await;
    let mut rows = rows_for(store, &prompt, &["x", "y"]).await;
    rows.title = Some("Zero \u{0} and \u{1F642}".to_owned());
    store.commit(&[rows]).await.unwrap();
    fill(store, &ada, &prompt).await;
    prompt
}

#[tokio::test]
async fn a_copy_holds_the_same_rows_and_goes_both_ways() {
    let (here, there) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (source, back) = (open_in(&here).await, open_in(&there).await);
    let prompt = filled(&source).await;
    let postgres = postgres().await;
    let mut told = BTreeSet::new();
    let report = copy(&source, &postgres.store, |table, _| _ = told.insert(table.to_owned())).await.unwrap();
    assert_eq!(told.len(), TABLES.len());
    for table in &report.tables {
        assert!(table.rows > 0, "nothing of {} was copied", table.name);
    }
    assert_eq!(copy(&postgres.store, &back, |_, _| {}).await.unwrap(), report);
    for store in [&postgres.store, &back] {
        let store = match store.db.dialect() {
            Dialect::Sqlite => open_in(&there).await,
            Dialect::Postgres => Store::open(&postgres.url).await.unwrap(),
        };
        let found = store.load_room(prompt.id, Generation::Newest).await.unwrap().unwrap();
        assert_eq!((found.rows.len(), found.title.as_str()), (1, "Zero \u{FFFD} and \u{1F642}"));
        assert_eq!(store.workspace().await.unwrap(), source.workspace().await.unwrap());
        store.close().await;
    }
    postgres.remove().await;
}

#[tokio::test]
async fn a_database_with_something_in_it_is_left_alone() {
    on_each_database(async |store| {
        let directory = tempfile::tempdir().unwrap();
        let source = open_in(&directory).await;
        add_person(&source, "Ada", Role::Owner).await;
        let bob = add_person(&store, "Bob", Role::Owner).await;
        let refused = copy(&source, &store, |_, _| {}).await;
        let Err(StoreError::Unusable(line)) = refused else { panic!("{refused:?}") };
        assert!(line.contains("not empty"), "{line}");
        assert_eq!(store.principals().await.unwrap(), [bob]);
    })
    .await;
}

#[tokio::test]
async fn many_rows_and_large_ones_are_copied_in_portions() {
    let (here, there) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (source, target) = (open_in(&here).await, open_in(&there).await);
    let ada = add_person(&source, "Ada", Role::Owner).await;
    let prompt = add_prompt(&source, &ada, "one").await;
    let large = "z".repeat(1 << 20);
    let rows: Vec<&str> = (0..3_000).map(|at| if at % 500 == 0 { large.as_str() } else { "x" }).collect();
    source.commit(&[rows_for(&source, &prompt, &rows).await]).await.unwrap();
    let report = copy(&source, &target, |_, _| {}).await.unwrap();
    let rows = report.tables.iter().find(|table| table.name == "room_updates").unwrap().rows;
    assert_eq!(rows, 3_001);
}

#[test]
fn every_table_and_column_of_the_schema_is_copied() {
    let schema: BTreeSet<(String, String)> = Shared::new().with(|connection| {
        let columns = "SELECT tables.name, columns.name FROM sqlite_schema AS tables
            JOIN pragma_table_info(tables.name) AS columns WHERE tables.type = 'table'";
        let mut columns = connection.prepare(columns).unwrap();
        let rows = columns.query_map((), |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
        rows.collect::<Result<_, _>>().unwrap()
    });
    let copied = TABLES
        .iter()
        .flat_map(|table| table.columns.iter().map(|(name, _)| (table.name.to_owned(), (*name).to_owned())));
    assert_eq!(copied.collect::<BTreeSet<_>>(), schema);
}
