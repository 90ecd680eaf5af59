//! The models that prompts can run on here.

use crate::edge::{auth::Caller, routes::shapes::ModelInfoShape, state::App};
use crate::model::ModelInfo;
use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;

#[derive(Serialize, ToSchema)]
pub struct ModelList {
    #[schema(value_type = Vec<ModelInfoShape>)]
    models: Vec<ModelInfo>,
}

/// All models of all lanes; one whose endpoint cannot be asked shows what is known of it.
#[utoipa::path(get, path = "/api/v1/models", operation_id = "list_models", tag = "models",
    responses((status = 200, body = ModelList)))]
pub async fn list(State(app): State<App>, _caller: Caller) -> axum::Json<ModelList> {
    axum::Json(ModelList { models: app.models.list().await })
}
