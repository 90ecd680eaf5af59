//! The library: slugs that never change hands, prompts that are not there for others.

use super::*;

#[tokio::test]
async fn a_new_prompt_has_its_first_row() {
    on_each_database(async |store| {
        let owner = add_person(&store, "Ada", Role::Owner).await;
        let prompt = add_prompt(&store, &owner, "greeting").await;
        assert_eq!((prompt.head.0, prompt.owner.name.as_str()), (1, "Ada"));
        assert_eq!(store.prompt(prompt.id).await.unwrap().as_ref(), Some(&prompt));
        assert_eq!(store.prompt_by_slug("greeting").await.unwrap().as_ref(), Some(&prompt));
        let image = store.load_room(prompt.id, Generation::Newest).await.unwrap().unwrap();
        assert_eq!(image.rows, [(prompt.head, bytes("row 1"))]);
    })
    .await;
}

#[tokio::test]
async fn creating_twice_with_one_id_makes_one_prompt() {
    on_each_database(async |store| {
        let owner = add_person(&store, "Ada", Role::Owner).await;
        let new = new_prompt(&owner, "greeting");
        let first = store.create_prompt(&new).await.unwrap();
        assert_eq!(store.create_prompt(&new).await.unwrap(), first);
        assert_eq!(store.prompts_for(owner.id).await.unwrap().len(), 1);
    })
    .await;
}

#[tokio::test]
async fn a_slug_stays_taken_after_a_rename_and_after_deletion() {
    on_each_database(async |store| {
        let owner = add_person(&store, "Ada", Role::Owner).await;
        let prompt = add_prompt(&store, &owner, "old").await;
        let other = add_prompt(&store, &owner, "other").await;
        let renamed = store.change_prompt(prompt.id, Some("new"), None).await.unwrap();
        assert!(matches!(renamed, ChangeOutcome::Changed(row) if row.slug == "new"));
        assert_eq!(store.prompt_by_slug("old").await.unwrap().unwrap().id, prompt.id);
        assert_eq!(store.create_prompt(&new_prompt(&owner, "old")).await.unwrap(), CreateOutcome::SlugTaken);
        assert_eq!(store.change_prompt(other.id, Some("new"), None).await.unwrap(), ChangeOutcome::SlugTaken);
        let back = store.change_prompt(prompt.id, Some("old"), None).await.unwrap();
        assert!(matches!(back, ChangeOutcome::Changed(row) if row.slug == "old"));
        store.delete_prompt(prompt.id, owner.id, 9_000).await.unwrap();
        for slug in ["old", "new"] {
            let again = store.create_prompt(&new_prompt(&owner, slug)).await.unwrap();
            assert_eq!(again, CreateOutcome::SlugDeleted);
            let moved = store.change_prompt(other.id, Some(slug), None).await.unwrap();
            assert_eq!(moved, ChangeOutcome::SlugDeleted);
        }
    })
    .await;
}

#[tokio::test]
async fn a_private_prompt_is_not_there_for_others() {
    on_each_database(async |store| {
        let ada = add_person(&store, "Ada", Role::Owner).await;
        let bob = add_person(&store, "Bob", Role::Admin).await;
        let prompt = add_prompt(&store, &ada, "secret").await;
        assert_eq!(store.prompts_for(bob.id).await.unwrap().len(), 1);
        let before = store.workspace().await.unwrap().rights_epoch;
        store.change_prompt(prompt.id, None, Some(Visibility::Private)).await.unwrap();
        assert_eq!(store.workspace().await.unwrap().rights_epoch, before + 1);
        assert_eq!(store.prompts_for(bob.id).await.unwrap().len(), 0);
        assert_eq!(store.prompts_for(ada.id).await.unwrap().len(), 1);
        store.change_prompt(prompt.id, None, Some(Visibility::Private)).await.unwrap();
        assert_eq!(store.workspace().await.unwrap().rights_epoch, before + 1);
    })
    .await;
}

#[tokio::test]
async fn the_library_shows_the_newest_change_first_with_its_last_run() {
    on_each_database(async |store| {
        let ada = add_person(&store, "Ada", Role::Owner).await;
        let first = add_prompt(&store, &ada, "first").await;
        let second = add_prompt(&store, &ada, "second").await;
        let mut rows = rows_for(&store, &first, &["x"]).await;
        rows.title = Some("Renamed".to_owned());
        rows.now_ms = 5_000;
        store.commit(&[rows]).await.unwrap();
        let mut last = None;
        for _ in 0..2 {
            last = Some(store.start_run(&new_run(&first, &ada, node())).await.unwrap());
        }
        let Some(StartOutcome::Started(last)) = last else { panic!("not started") };
        let library = store.prompts_for(ada.id).await.unwrap();
        let ids: Vec<PromptId> = library.iter().map(|entry| entry.prompt.id).collect();
        assert_eq!(ids, [first.id, second.id]);
        assert_eq!(library[0].prompt.title, "Renamed");
        assert_eq!(library[0].last_run.as_ref(), Some(&last));
        assert_eq!(library[1].last_run, None);
    })
    .await;
}

#[tokio::test]
async fn a_deleted_prompt_comes_back_as_it_was() {
    on_each_database(async |store| {
        let ada = add_person(&store, "Ada", Role::Owner).await;
        let prompt = add_prompt(&store, &ada, "greeting").await;
        let deleted = store.delete_prompt(prompt.id, ada.id, 9_000).await.unwrap().unwrap();
        assert_eq!(deleted.deleted_at_ms, Some(9_000));
        let again = store.delete_prompt(prompt.id, ada.id, 9_999).await.unwrap().unwrap();
        assert_eq!(again, deleted);
        assert_eq!(store.prompts_for(ada.id).await.unwrap(), []);
        assert_eq!(store.change_prompt(prompt.id, Some("x"), None).await.unwrap(), ChangeOutcome::Gone);
        let refused = store.start_run(&new_run(&prompt, &ada, node())).await.unwrap();
        assert_eq!(refused, StartOutcome::Gone);
        let restored = store.restore_prompt(prompt.id).await.unwrap().unwrap();
        assert_eq!(restored, PromptRow { revision: restored.revision, ..prompt.clone() });
        assert!(restored.revision > deleted.revision && deleted.revision > prompt.revision);
        let unknown = PromptId(Uuid::new_v4());
        assert_eq!(store.delete_prompt(unknown, ada.id, 1).await.unwrap(), None);
        assert_eq!(store.restore_prompt(unknown).await.unwrap(), None);
    })
    .await;
}

#[tokio::test]
async fn more_runs_than_a_statement_has_values_are_looked_up_all_the_same() {
    on_each_database(async |store| {
        let run = start_run(&store, node()).await;
        let mut ids: Vec<Uuid> = (0..70_000).map(Uuid::from_u128).collect();
        ids.push(run.id.0);
        let mut reader = store.db.read().await.unwrap();
        let select = "SELECT run_id FROM run_claims WHERE run_id";
        assert_eq!(summary::fetch_in(&mut reader, select, &ids).await.unwrap().len(), 1);
        assert_eq!(summary::fetch_in(&mut reader, select, &[]).await.unwrap().len(), 0);
    })
    .await;
}
