//! Who gets in, once and for how long, and who may not be removed.

use super::*;
use crate::store::column::Columns as _;
use crate::store::query::Statement;

const SESSION: SecretHash = SecretHash([1; 32]);
const LINK: SecretHash = SecretHash([2; 32]);
const INVITE: SecretHash = SecretHash([3; 32]);
const DAY_MS: u64 = 24 * 60 * 60 * 1_000;

fn new_invite(by: &Principal, role: Role) -> NewInvite {
    NewInvite { id: Uuid::new_v4(), hash: INVITE, role, by: by.id, now_ms: 10, expires_at_ms: 1_000 }
}

#[tokio::test]
async fn a_new_store_has_one_workspace_and_keeps_it() {
    on_each_database(async |store| {
        let workspace = store.workspace().await.unwrap();
        assert_eq!((workspace.name.as_str(), workspace.rights_epoch), ("Workspace", 1));
        store.migrate().await.unwrap();
        assert_eq!(store.workspace().await.unwrap(), workspace);
    })
    .await;
}

#[tokio::test]
async fn the_first_owner_is_made_by_the_first_link_and_only_once() {
    on_each_database(async |store| {
        store.add_sign_in_link(LINK, LinkFor::Owner, 100).await.unwrap();
        let owner = store.use_sign_in_link(LINK, SESSION, 50).await.unwrap().unwrap();
        assert_eq!((owner.role, owner.kind), (Role::Owner, PrincipalKind::Person));
        store.add_sign_in_link(LINK, LinkFor::Owner, 100).await.unwrap();
        let again = store.use_sign_in_link(LINK, SecretHash([9; 32]), 60).await.unwrap().unwrap();
        assert_eq!(again.id, owner.id);
        assert_eq!(store.principals().await.unwrap().len(), 1);
    })
    .await;
}

#[tokio::test]
async fn a_sign_in_link_raced_by_two_lets_one_in() {
    on_each_database(async |store| {
        store.add_sign_in_link(LINK, LinkFor::Owner, 100).await.unwrap();
        let (one, two) = tokio::join!(
            store.use_sign_in_link(LINK, SecretHash([7; 32]), 50),
            store.use_sign_in_link(LINK, SecretHash([8; 32]), 50),
        );
        let winners = [one.unwrap(), two.unwrap()].into_iter().flatten().count();
        assert_eq!(winners, 1);
        assert_eq!(store.principals().await.unwrap().len(), 1);
    })
    .await;
}

#[tokio::test]
async fn an_expired_link_lets_nobody_in() {
    on_each_database(async |store| {
        store.add_sign_in_link(LINK, LinkFor::Owner, 100).await.unwrap();
        assert_eq!(store.use_sign_in_link(LINK, SESSION, 100).await.unwrap(), None);
        assert_eq!(store.use_sign_in_link(LINK, SESSION, 10).await.unwrap(), None);
        assert_eq!(store.principal_by_session(SESSION, 100).await.unwrap(), None);
    })
    .await;
}

#[tokio::test]
async fn a_session_ends_when_it_is_left_alone_or_removed() {
    on_each_database(async |store| {
        store.add_sign_in_link(LINK, LinkFor::Owner, 100).await.unwrap();
        let owner = store.use_sign_in_link(LINK, SESSION, 50).await.unwrap().unwrap();
        assert_eq!(store.principal_by_session(SESSION, 60).await.unwrap().unwrap().id, owner.id);
        let later = 80 * DAY_MS;
        assert!(store.principal_by_session(SESSION, later).await.unwrap().is_some());
        store.write_last_seen().await.unwrap();
        assert!(store.principal_by_session(SESSION, later + 80 * DAY_MS).await.unwrap().is_some());
        assert!(store.principal_by_session(SESSION, later + 91 * DAY_MS).await.unwrap().is_none());
        store.remove_session(SESSION).await.unwrap();
        assert!(store.principal_by_session(SESSION, later).await.unwrap().is_none());
    })
    .await;
}

#[tokio::test]
async fn last_seen_is_written_at_most_once_a_minute() {
    on_each_database(async |store| {
        let token = SecretHash([5; 32]);
        let id = MemberId(Uuid::new_v4());
        let (name, role) = ("bot".to_owned(), Role::Runner);
        let new = NewPrincipal { id, kind: PrincipalKind::Token, name, role, token: Some(token), now_ms: 1 };
        store.add_principal(&new).await.unwrap();
        for now_ms in [5_000, 30_000, 64_999] {
            assert!(store.principal_by_token(token, now_ms).await.unwrap().is_some());
            if now_ms == 5_000 {
                store.write_last_seen().await.unwrap();
            }
        }
        store.write_last_seen().await.unwrap();
        assert_eq!(store.principal(id).await.unwrap().unwrap().last_seen_at_ms, Some(5_000));
        store.principal_by_token(token, 65_000).await.unwrap();
        store.write_last_seen().await.unwrap();
        assert_eq!(store.principal(id).await.unwrap().unwrap().last_seen_at_ms, Some(65_000));
    })
    .await;
}

#[tokio::test]
async fn an_invite_makes_members_until_it_is_removed_or_expires() {
    on_each_database(async |store| {
        let owner = add_person(&store, "Owner", Role::Owner).await;
        let invite = store.add_invite(&new_invite(&owner, Role::Viewer)).await.unwrap();
        let ada = store.use_invite(INVITE, "Ada", SESSION, 500).await.unwrap().unwrap();
        assert_eq!((ada.name.as_str(), ada.role), ("Ada", Role::Viewer));
        assert_eq!(store.principal_by_session(SESSION, 501).await.unwrap().unwrap().id, ada.id);
        assert_eq!(store.invites(999).await.unwrap(), std::slice::from_ref(&invite));
        assert_eq!(store.invites(1_000).await.unwrap(), []);
        assert!(store.use_invite(INVITE, "Late", SecretHash([4; 32]), 1_000).await.unwrap().is_none());
        assert!(store.remove_invite(invite.id).await.unwrap());
        assert!(!store.remove_invite(invite.id).await.unwrap());
        assert!(store.use_invite(INVITE, "Bob", SecretHash([4; 32]), 500).await.unwrap().is_none());
    })
    .await;
}

#[tokio::test]
async fn the_last_owner_cannot_be_lowered_or_removed() {
    on_each_database(async |store| {
        let first = add_person(&store, "First", Role::Owner).await;
        assert_eq!(store.set_role(first.id, Role::Admin).await.unwrap(), RightsOutcome::LastOwner);
        assert_eq!(store.remove_principal(first.id, 5).await.unwrap(), RightsOutcome::LastOwner);
        let second = add_person(&store, "Second", Role::Editor).await;
        assert_eq!(
            store.set_role(second.id, Role::Owner).await.unwrap(),
            RightsOutcome::Changed { rights_epoch: 2 }
        );
        assert_eq!(
            store.remove_principal(first.id, 5).await.unwrap(),
            RightsOutcome::Changed { rights_epoch: 3 }
        );
        assert_eq!(store.remove_principal(first.id, 5).await.unwrap(), RightsOutcome::Gone);
        assert_eq!(store.set_role(second.id, Role::Viewer).await.unwrap(), RightsOutcome::LastOwner);
        assert_eq!(store.workspace().await.unwrap().rights_epoch, 3);
    })
    .await;
}

#[tokio::test]
async fn removing_somebody_ends_all_their_ways_in() {
    on_each_database(async |store| {
        add_person(&store, "Owner", Role::Owner).await;
        let ada = add_person(&store, "Ada", Role::Admin).await;
        store.add_sign_in_link(LINK, LinkFor::Principal(ada.id), 1_000).await.unwrap();
        assert!(store.use_sign_in_link(LINK, SESSION, 10).await.unwrap().is_some());
        store.add_sign_in_link(LINK, LinkFor::Principal(ada.id), 1_000).await.unwrap();
        store.add_invite(&new_invite(&ada, Role::Editor)).await.unwrap();
        store.remove_principal(ada.id, 20).await.unwrap();
        assert_eq!(store.principal_by_session(SESSION, 21).await.unwrap(), None);
        assert_eq!(store.use_sign_in_link(LINK, SecretHash([9; 32]), 21).await.unwrap(), None);
        assert_eq!(store.use_invite(INVITE, "Eve", SecretHash([9; 32]), 21).await.unwrap(), None);
        assert_eq!(store.principal(ada.id).await.unwrap(), None);
        assert_eq!(store.rename_principal(ada.id, "Eve").await.unwrap(), None);
    })
    .await;
}

#[tokio::test]
async fn a_new_name_is_seen_by_everybody() {
    on_each_database(async |store| {
        let ada = add_person(&store, "Ada", Role::Editor).await;
        assert_eq!(store.rename_principal(ada.id, "Ada L.").await.unwrap().unwrap().name, "Ada L.");
        assert_eq!(store.principals().await.unwrap()[0].name, "Ada L.");
    })
    .await;
}

#[tokio::test]
async fn those_who_are_asked_for_are_found_unless_they_were_removed() {
    on_each_database(async |store| {
        let ada = add_person(&store, "Ada", Role::Owner).await;
        let ben = add_person(&store, "Ben", Role::Editor).await;
        add_person(&store, "Eve", Role::Editor).await;
        store.remove_principal(ben.id, 5).await.unwrap();
        let ids = [ada.id, ben.id, MemberId(Uuid::new_v4())];
        let found: Vec<MemberId> =
            store.principals_of(&ids).await.unwrap().into_iter().map(|principal| principal.id).collect();
        assert_eq!(found, [ada.id]);
        assert_eq!(store.principals_of(&[]).await.unwrap(), []);
    })
    .await;
}

#[tokio::test]
async fn sessions_that_nobody_used_for_long_are_deleted_when_they_are_looked_for() {
    on_each_database(async |store| {
        let owner = add_person(&store, "Owner", Role::Owner).await;
        store
            .add_invite(&NewInvite { expires_at_ms: DAY_MS * 400, ..new_invite(&owner, Role::Viewer) })
            .await
            .unwrap();
        for (session, day) in [(5, 0), (6, 0), (7, 50), (8, 200)] {
            let session = SecretHash([session; 32]);
            assert!(store.use_invite(INVITE, "Ada", session, day * DAY_MS + 1).await.unwrap().is_some());
        }
        let count = async || {
            let mut connection = store.db.read().await.unwrap();
            let row = query("SELECT COUNT(*) AS sessions FROM sessions").fetch_one(&mut connection).await;
            row.unwrap().signed("sessions").unwrap()
        };
        assert_eq!(count().await, 4, "nobody who signs in waits for it");
        assert_eq!(store.remove_idle_sessions(91 * DAY_MS).await.unwrap(), 2);
        assert_eq!(store.remove_idle_sessions(91 * DAY_MS).await.unwrap(), 0);
        assert_eq!(count().await, 2);
        assert!(store.principal_by_session(SecretHash([7; 32]), 91 * DAY_MS).await.unwrap().is_some());
    })
    .await;
}

#[tokio::test]
async fn more_idle_sessions_than_one_transaction_deletes_are_all_deleted() {
    on_each_database(async |store| {
        let ada = add_person(&store, "Ada", Role::Owner).await;
        let workspace = store.workspace().await.unwrap().id;
        let mut add = Statement::new(
            store.db.dialect(),
            "INSERT INTO sessions (hash, workspace_id, principal_id, created_at_ms, last_seen_at_ms) ",
        );
        add.push_values(0..2_500_u16, |values, number| {
            let hash = [&number.to_be_bytes()[..], &[0; 30]].concat();
            values
                .push_bind(hash)
                .push_bind(workspace.0)
                .push_bind(ada.id.0)
                .push_bind(0_i64)
                .push_bind(0_i64);
        });
        let mut transaction = store.db.write().await.unwrap();
        add.build().execute(&mut transaction).await.unwrap();
        transaction.commit().await.unwrap();
        assert_eq!(store.remove_idle_sessions(91 * DAY_MS).await.unwrap(), 2_500);
    })
    .await;
}
