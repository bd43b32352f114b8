//! This library, its children in the default stack.

fn main() {
    peer_this::run::<peer_this::DefaultStack>();
}
