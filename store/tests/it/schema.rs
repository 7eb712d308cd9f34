//! The schema goes up and down, and has the columns it promises.

use caside_store::{Store, StoreOptions};

use crate::database::{Database, on_both};

on_both!(
    every_step_goes_up_down_and_up_again,
    two_nodes_that_start_together_migrate_once,
    a_database_of_a_newer_version_is_left_alone,
);

async fn every_step_goes_up_down_and_up_again(db: Database) {
    let connection = db.store.connection();
    assert!(
        caside_migrations::up(connection).await.unwrap().is_empty(),
        "applied by the fixture"
    );
    let steps = caside_migrations::status(connection).await.unwrap();
    assert!(steps.len() >= 4 && steps.iter().all(|step| step.applied && step.known));
    let names: Vec<_> = steps.iter().map(|step| step.name.clone()).collect();
    assert!(names.is_sorted());

    let last = caside_migrations::down(connection, 1).await.unwrap();
    assert_eq!(last, names[names.len() - 1..]);
    let steps = caside_migrations::status(connection).await.unwrap();
    assert_eq!(steps.iter().filter(|step| !step.applied).count(), 1);

    let rest = caside_migrations::down(connection, 1_000).await.unwrap();
    assert_eq!(rest.len(), names.len() - 1);
    assert_eq!(caside_migrations::up(connection).await.unwrap(), names);
}

async fn two_nodes_that_start_together_migrate_once(db: Database) {
    let connection = db.store.connection();
    let all = caside_migrations::down(connection, 1_000).await.unwrap().len();
    let other = Store::connect(&db.url, StoreOptions::default()).await.unwrap();
    let (here, there) = tokio::join!(
        caside_migrations::up(connection),
        caside_migrations::up(other.connection())
    );
    let (here, there) = (here.unwrap().len(), there.unwrap().len());
    assert_eq!((here.max(there), here.min(there)), (all, 0));
}

async fn a_database_of_a_newer_version_is_left_alone(db: Database) {
    let connection = db.store.connection();
    execute(
        &db,
        "INSERT INTO seaql_migrations (version, applied_at) VALUES ('m29991231_000001_later', 0)",
    )
    .await;
    assert!(caside_migrations::up(connection).await.unwrap().is_empty());
    let steps = caside_migrations::status(connection).await.unwrap();
    assert!(steps.last().is_some_and(|step| step.applied && !step.known));
    assert!(caside_migrations::down(connection, 1).await.is_err());
}

async fn execute(db: &Database, sql: &str) {
    use sea_orm::ConnectionTrait;
    db.store.connection().execute_unprepared(sql).await.unwrap();
}

#[tokio::test]
async fn status_of_an_empty_database_changes_nothing() {
    let store = Store::connect("sqlite::memory:", StoreOptions::default())
        .await
        .unwrap();
    for _ in 0..2 {
        let steps = caside_migrations::status(store.connection()).await.unwrap();
        assert!(steps.iter().all(|step| !step.applied && step.known));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn postgres_has_the_types_that_others_query() {
    use sea_orm::{ConnectionTrait, DbBackend, Statement};
    let db = crate::database::postgres().await;
    let columns = async |table: &str| {
        let sql = "SELECT column_name::text AS c, data_type::text AS t FROM information_schema.columns \
                   WHERE table_name = $1 ORDER BY 1";
        let statement = Statement::from_sql_and_values(DbBackend::Postgres, sql, [table.into()]);
        let rows = db.store.connection().query_all_raw(statement).await.unwrap();
        rows.iter()
            .map(|row| {
                format!(
                    "{} {}",
                    row.try_get::<String>("", "c").unwrap(),
                    row.try_get::<String>("", "t").unwrap()
                )
            })
            .collect::<Vec<_>>()
    };
    assert_eq!(
        columns("calls").await,
        [
            "created_at timestamp with time zone",
            "ended_at timestamp with time zone",
            "id uuid",
            "metadata jsonb",
            "owner text",
            "recording boolean",
            "room_id text",
            "started_at timestamp with time zone",
            "status text",
        ]
    );
    assert_eq!(
        columns("participants").await,
        [
            "call_id uuid",
            "client_ip inet",
            "display_name text",
            "id uuid",
            "joined_at timestamp with time zone",
            "left_at timestamp with time zone",
            "metadata jsonb",
            "role text",
            "user_id text",
        ]
    );
    assert_eq!(
        columns("call_timelines").await,
        ["call_id uuid", "explained jsonb", "written_at timestamp with time zone",]
    );
}
