//! This library, its children bare.

fn main() {
    peer_this::run::<peer_this::NoStack>();
}
