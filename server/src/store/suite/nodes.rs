//! Nodes: heartbeats that only count, and what is found of those that are gone.

use super::*;

#[tokio::test]
async fn a_node_is_seen_with_its_beats_until_it_stops() {
    on_each_database(async |store| {
        let me = node();
        store.add_node(me, 1).await.unwrap();
        store.beat(me, 2).await.unwrap();
        store.beat(me, 3).await.unwrap();
        store.add_node(me, 4).await.unwrap();
        let reading = NodeReading { node: me, beat: Some(2), stopped: false };
        assert_eq!(
            store.look_at_nodes().await.unwrap(),
            NodesSeen { nodes: vec![reading], ..NodesSeen::default() }
        );
        store.stop_node(me, 5).await.unwrap();
        assert_eq!(store.look_at_nodes().await.unwrap(), NodesSeen::default());
    })
    .await;
}

#[tokio::test]
async fn who_left_work_behind_is_seen_though_it_stopped_or_has_no_row() {
    on_each_database(async |store| {
        let (stopped, unknown) = (node(), node());
        store.add_node(stopped, 1).await.unwrap();
        let first = start_run(&store, stopped).await;
        let second = start_run(&store, unknown).await;
        store.stop_node(stopped, 2).await.unwrap();
        let mut seen = store.look_at_nodes().await.unwrap();
        seen.nodes.sort_by_key(|reading| reading.beat);
        let readings = [
            NodeReading { node: unknown, beat: None, stopped: false },
            NodeReading { node: stopped, beat: Some(0), stopped: true },
        ];
        assert_eq!((&seen.nodes[..], seen.ownerless), (&readings[..], false));
        store.add_node(node(), 1).await.unwrap();
        assert_eq!(store.look_at_nodes().await.unwrap().nodes.len(), 3);
        assert_eq!(store.look_at_nodes().await.unwrap().with_work, [stopped, unknown].into());
        assert_eq!(store.forget_nodes(10).await.unwrap(), 1, "not the one that drives a run");
        assert_eq!(store.runs_to_take_over(&[stopped], 10).await.unwrap(), [first.id]);
        assert_eq!(store.runs_to_take_over(&[unknown], 10).await.unwrap(), [second.id]);
        assert_eq!(store.release_runs(stopped).await.unwrap(), 1);
        assert_eq!(store.release_runs(stopped).await.unwrap(), 0);
        assert!(store.look_at_nodes().await.unwrap().ownerless);
        assert_eq!(store.runs_to_take_over(&[], 10).await.unwrap(), [first.id]);
        assert_eq!(store.forget_nodes(10).await.unwrap(), 1);
        store.beat(stopped, 3).await.unwrap();
        assert_eq!(store.forget_nodes(3).await.unwrap(), 0, "it is alive after all");
    })
    .await;
}

#[tokio::test]
async fn a_released_run_has_no_driver_and_its_room_notices() {
    on_each_database(async |store| {
        let me = node();
        let run = start_run(&store, me).await;
        let driver = RunDriver { epoch: run.epoch, node: Some(me) };
        assert_eq!(store.run_driver(run.id).await.unwrap(), Some(driver));
        let before = store.heads(&[run.prompt]).await.unwrap()[0].revision;
        store.release_runs(me).await.unwrap();
        assert_eq!(store.run_driver(run.id).await.unwrap(), Some(RunDriver { node: None, ..driver }));
        assert!(store.heads(&[run.prompt]).await.unwrap()[0].revision > before);
        assert_eq!(store.run_driver(RunId(Uuid::new_v4())).await.unwrap(), None);
    })
    .await;
}
