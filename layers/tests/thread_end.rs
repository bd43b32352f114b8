//! A panic is caught on a thread that ends, too. A failure here would abort the process.

use std::cell::RefCell;

use supervisor_layers::{FailureKind, task::catch_panic};

struct Late;

impl Drop for Late {
    fn drop(&mut self) {
        let caught = catch_panic(|| panic!("late")).unwrap_err();
        assert_eq!(caught.kind(), FailureKind::Panic);
        assert!(caught.message().contains("late"), "{caught}");
    }
}

thread_local! {
    static LAST: RefCell<Option<Late>> = const { RefCell::new(None) };
}

#[test]
fn a_panic_is_caught_while_a_threads_locals_are_torn_down() {
    let ending = std::thread::spawn(|| {
        // Made first, so dropped last: after whatever the catch keeps for this thread.
        LAST.set(Some(Late));
        assert!(catch_panic(|| panic!("early")).is_err());
    });
    ending.join().unwrap();
}
