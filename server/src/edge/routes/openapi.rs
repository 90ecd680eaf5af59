//! What the API description holds besides its routes: credentials, and that every operation may refuse.

use super::shapes::ProblemShape;
use utoipa::{
    OpenApi as _,
    openapi::{
        ContentBuilder, OpenApi, Ref, RefOr, Response, ResponseBuilder, SecurityRequirement,
        security::{ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityScheme},
    },
};

#[derive(utoipa::OpenApi)]
#[openapi(
    info(
        title = "Promptroom",
        description = "Prompts that people write, run and watch together. What changes a prompt's content goes \
            through its room like any other edit and is answered when it is durable. Every refusal is a Problem \
            with a stable `code`.",
        license(name = "Apache-2.0", identifier = "Apache-2.0")
    ),
    components(schemas(ProblemShape))
)]
struct Head;

pub fn head() -> OpenApi {
    Head::openapi()
}

/// Adds what all operations share.
pub fn complete(mut description: OpenApi) -> OpenApi {
    let components = description.components.get_or_insert_default();
    let token = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).description(Some("An API token")).build();
    let session = ApiKeyValue::with_description("promptroom", "The page's; `__Host-promptroom` under https");
    components.add_security_scheme("token", SecurityScheme::Http(token));
    components.add_security_scheme("session", SecurityScheme::ApiKey(ApiKey::Cookie(session)));
    let none: [&str; 0] = [];
    description.security =
        Some(vec![SecurityRequirement::new("token", none), SecurityRequirement::new("session", none)]);
    for path in description.paths.paths.values_mut() {
        let operations = [&mut path.get, &mut path.post, &mut path.patch, &mut path.delete];
        for operation in operations.into_iter().flatten() {
            operation.responses.responses.insert("default".to_owned(), RefOr::T(refusal()));
        }
    }
    description
}

fn refusal() -> Response {
    let problem = ContentBuilder::new().schema(Some(Ref::from_schema_name("Problem"))).build();
    ResponseBuilder::new()
        .description("What happened, what is kept, what to do next.")
        .content("application/problem+json", problem)
        .build()
}
