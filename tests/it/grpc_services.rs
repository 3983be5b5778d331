//! The Open Inference Protocol over gRPC: the model repository and its token, statistics, health, reflection, and a
//! port for gRPC only.

use plimsoll::serve::grpc::inference::grpc_inference_service_client::GrpcInferenceServiceClient;
use plimsoll::serve::grpc::inference::*;
use plimsoll_tests::{Server, TempDir, guests_config};
use tonic::{Code, Request};

use crate::grpc_calls::{assert_status, channel, client, images};
use crate::oip_rest::echo;

#[tokio::test(flavor = "multi_thread")]
async fn grpc_models_can_be_unloaded_and_loaded_and_have_statistics() {
    let folder = TempDir::new().expect("a folder");
    let token = folder.path().join("token");
    std::fs::write(&token, "correct horse battery").expect("written");
    let server = Server::start(&format!("[admin]\ntoken_file = {token:?}\n{}", guests_config("tester", ""))).await;
    let mut client = client(&server).await;
    client.model_infer(images("p", &[b"x"], &[])).await.expect("an answer");
    let asked = ModelStatisticsRequest { name: "p".into(), version: String::new() };
    let rows = client.model_statistics(asked).await.expect("there").into_inner().model_stats;
    let success = rows[0].inference_stats.as_ref().and_then(|stats| stats.success).expect("there");
    assert_eq!((rows.len(), success.count, rows[0].inference_count), (1, 1, 1));
    assert!(success.ns > 0);
    let all = client.model_statistics(ModelStatisticsRequest::default()).await.expect("there").into_inner().model_stats;
    assert_eq!(all.len(), 2);

    let unload = |token: Option<&str>| {
        let mut request = Request::new(RepositoryModelUnloadRequest {
            model_name: "p".into(),
            ..RepositoryModelUnloadRequest::default()
        });
        if let Some(token) = token {
            request.metadata_mut().insert("authorization", format!("Bearer {token}").parse().expect("text"));
        }
        request
    };
    assert_status(client.repository_model_unload(unload(None)).await, Code::Unauthenticated, "Authorization");
    assert_status(
        client.repository_model_unload(unload(Some("wrong horse battery"))).await,
        Code::Unauthenticated,
        "token",
    );
    client.repository_model_unload(unload(Some("correct horse battery"))).await.expect("unloaded");
    let ready = ModelReadyRequest { name: "p".into(), version: String::new() };
    assert!(!client.model_ready(ready.clone()).await.expect("known").into_inner().ready);
    let index = client.repository_index(RepositoryIndexRequest::default()).await.expect("there").into_inner().models;
    assert_eq!((&*index[0].name, &*index[0].state), ("p", "UNAVAILABLE"));
    let mut load = Request::new(RepositoryModelLoadRequest { model_name: "p".into(), ..Default::default() });
    load.metadata_mut().insert("authorization", "Bearer correct horse battery".parse().expect("text"));
    client.repository_model_load(load).await.expect("loaded");
    assert!(client.model_ready(ready).await.expect("known").into_inner().ready);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn grpc_local_callers_need_the_token_that_the_server_made() {
    let server = echo().await;
    let mut client = client(&server).await;
    let load = RepositoryModelLoadRequest { model_name: "p".into(), ..RepositoryModelLoadRequest::default() };
    assert_status(client.repository_model_load(load.clone()).await, Code::Unauthenticated, "admin-token");
    let mut load = Request::new(load);
    let bearer = format!("bearer {}", server.token.as_deref().expect("a token"));
    load.metadata_mut().insert("authorization", bearer.parse().expect("text"));
    client.repository_model_load(load).await.expect("the token of the data folder");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn grpc_health_and_reflection_name_the_services() {
    use tonic_health::pb::health_client::HealthClient;
    use tonic_health::pb::{HealthCheckRequest, health_check_response::ServingStatus};
    use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
    use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
    use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;
    let server = echo().await;
    let channel = channel(&server.grpc_url).await;
    let mut health = HealthClient::new(channel.clone());
    for service in ["", "inference.GRPCInferenceService"] {
        let answer = health.check(HealthCheckRequest { service: service.into() }).await.expect("known").into_inner();
        assert_eq!(answer.status(), ServingStatus::Serving);
    }
    assert_status(health.check(HealthCheckRequest { service: "ghost".into() }).await, Code::NotFound, "");
    let mut reflection = ServerReflectionClient::new(channel);
    let asked = tonic_reflection::pb::v1::ServerReflectionRequest {
        host: String::new(),
        message_request: Some(MessageRequest::ListServices(String::new())),
    };
    let mut answers = reflection
        .server_reflection_info(tonic::codegen::tokio_stream::iter([asked]))
        .await
        .expect("a stream")
        .into_inner();
    let answer = answers.message().await.expect("no error").expect("an answer").message_response;
    let Some(MessageResponse::ListServicesResponse(services)) = answer else { panic!("{answer:?}") };
    let names: Vec<_> = services.service.iter().map(|service| service.name.as_str()).collect();
    for name in ["inference.GRPCInferenceService", "grpc.health.v1.Health"] {
        assert!(names.contains(&name), "{names:?}");
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn grpc_uses_only_its_own_port_if_one_is_configured() {
    let config = format!("[server]\ngrpc_listen = \"127.0.0.1:0\"\n{}", guests_config("tester", ""));
    let server = Server::start(&config).await;
    assert_ne!(server.url, server.grpc_url);
    let mut client = client(&server).await;
    client.model_infer(images("p", &[b"x"], &[])).await.expect("an answer");
    assert_eq!(server.get("/v2/health/live").await.status, 200);
    // Each port serves only its own protocol.
    let mut other = GrpcInferenceServiceClient::new(channel(&server.url).await);
    assert!(other.server_live(ServerLiveRequest {}).await.is_err());
    let rest = server.client.get(format!("{}/v2/health/live", server.grpc_url)).send().await.expect("an answer");
    assert_eq!(rest.status(), 404);
    server.stop().await;
}
