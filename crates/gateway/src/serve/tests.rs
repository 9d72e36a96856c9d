use super::*;

fn prepared(content: Content) -> Prepared {
    let (parts, ()) = Request::new(()).into_parts();
    Prepared { parts, content }
}

#[tokio::test]
async fn a_body_that_is_held_whole_takes_room_as_long_as_it_is_kept() {
    let held = Arc::new(Semaphore::new(8));
    let passing = |text: &'static str| prepared(Content::Passing(full(text)));
    let (_, bytes, room) = passing("12345").whole(&held).await.unwrap();
    assert_eq!((bytes.len(), held.available_permits()), (5, 3));
    let refused = passing("1234").whole(&held).await.err().unwrap();
    assert_eq!(refused.status, StatusCode::SERVICE_UNAVAILABLE);
    // What is whole already keeps the room that it has, and takes no more.
    let whole = prepared(Content::Whole(bytes, room));
    let (_, bytes, room) = whole.whole(&held).await.unwrap();
    assert_eq!((bytes.len(), held.available_permits()), (5, 3));
    let request = prepared(Content::Whole(bytes, room)).request();
    assert_eq!(held.available_permits(), 3);
    drop(request);
    assert_eq!(held.available_permits(), 8);
}
