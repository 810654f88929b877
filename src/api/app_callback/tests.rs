use super::*;
use crate::api::{
    grpc::routes,
    testing::{on_a_shard, service, start},
};
use dapr::dapr::proto::runtime::v1::{
    TopicEventBulkRequestEntry, app_callback_client::AppCallbackClient,
    app_callback_health_check_client::AppCallbackHealthCheckClient,
};
use std::sync::Arc;
use tonic::{Code, transport::Endpoint};

#[test]
fn a_sidecar_gets_sane_answers() {
    on_a_shard(async {
        let running = start(routes(&service(), Arc::default()).with_dapr_callbacks(None));
        let endpoint = Endpoint::from_shared(format!("http://{}", running.address)).unwrap();
        let channel = endpoint.connect().await.unwrap();
        let mut app = AppCallbackClient::new(channel.clone());
        assert!(app.list_topic_subscriptions(()).await.unwrap().into_inner().subscriptions.is_empty());
        assert!(app.list_input_bindings(()).await.unwrap().into_inner().bindings.is_empty());
        let event = TopicEventRequest { id: "1".into(), topic: "a\nb".into(), ..Default::default() };
        let answer = app.on_topic_event(event).await.unwrap().into_inner();
        assert_eq!(answer.status(), Verdict::Drop);
        let entry = |id: &str| TopicEventBulkRequestEntry { entry_id: id.into(), ..Default::default() };
        let bulk = TopicEventBulkRequest { entries: vec![entry("a"), entry("b")], ..Default::default() };
        let statuses = app.on_bulk_topic_event(bulk).await.unwrap().into_inner().statuses;
        let statuses: Vec<_> = statuses.iter().map(|s| (s.entry_id.as_str(), s.status())).collect();
        assert_eq!(statuses, [("a", Verdict::Drop), ("b", Verdict::Drop)]);
        let refused = app.on_invoke(InvokeRequest { method: "Send".into(), ..Default::default() }).await;
        let refused = refused.unwrap_err();
        assert_eq!(refused.code(), Code::Unimplemented);
        for word in ["virtufin.WebSocketManager", "dapr-app-id"] {
            assert!(refused.message().contains(word), "{refused}");
        }
        let binding = app.on_binding_event(BindingEventRequest::default()).await.unwrap_err();
        let job = app.on_job_event(JobEventRequest::default()).await.unwrap_err();
        assert_eq!((binding.code(), job.code()), (Code::Unimplemented, Code::Unimplemented));
        AppCallbackHealthCheckClient::new(channel).health_check(()).await.unwrap();
    });
}

#[test]
fn with_a_token_only_its_holder_is_heard() {
    on_a_shard(async {
        let running = start(routes(&service(), Arc::default()).with_dapr_callbacks(Some("secret")));
        let endpoint = Endpoint::from_shared(format!("http://{}", running.address)).unwrap();
        let channel = endpoint.connect().await.unwrap();
        let mut app = AppCallbackClient::new(channel.clone());
        let mut health = AppCallbackHealthCheckClient::new(channel);
        for given in [None, Some(""), Some("secre"), Some("secret2"), Some("Secret")] {
            let request = || {
                let mut request = Request::new(());
                if let Some(token) = given {
                    request.metadata_mut().insert(TOKEN, token.parse().unwrap());
                }
                request
            };
            let refused = app.list_topic_subscriptions(request()).await.unwrap_err();
            assert_eq!(refused.code(), Code::Unauthenticated, "{given:?}");
            assert!(!refused.message().contains("secret"), "{refused}");
            assert_eq!(health.health_check(request()).await.unwrap_err().code(), Code::Unauthenticated);
        }
        let mut request = Request::new(());
        request.metadata_mut().insert(TOKEN, "secret".parse().unwrap());
        app.list_topic_subscriptions(request).await.unwrap();
    });
}
