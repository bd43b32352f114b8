//! What a person orders in the model: what it does at once, and when it is answered.

use rust_supervisor::StopCause;

use super::{
    life::Life,
    model::{Hold, Model, Phase, ROOT, What},
    plan::{Order, added, join},
    trace::{Answer, Reached, Step},
};

/// What an order that is under way waits for.
#[derive(Clone, Copy)]
pub enum Waiting {
    /// The end of this run.
    Down {
        child: usize,
        generation: u64,
        done: Answer,
    },
    /// A run after this one.
    Again { child: usize, generation: u64 },
    /// The end of the child.
    Gone { child: usize, answer: Answer },
    /// Its start.
    Started { child: usize },
    /// The end of the tree.
    End,
}

impl Model<'_> {
    pub fn next_line(&self) -> Option<u64> {
        let (last, done) = self.script?;
        let line = self.plan.script.get(done);
        match line {
            Some(line) => Some(last + line.after),
            // Nobody is in a hurry: all that can happen by itself has happened by then.
            None if done == self.plan.script.len() => Some(last + LAST),
            None => None,
        }
    }

    /// The line of the script that is due, if one is.
    pub fn order(&mut self) {
        let (Some(due), Some((_, done))) = (self.next_line(), self.script) else {
            return;
        };
        if due != self.now {
            return;
        }
        self.script = Some((due, done + 1));
        let plan = self.plan;
        let order = plan
            .script
            .get(done)
            .map_or(&Order::Shutdown, |line| &line.order);
        if let Order::Look = order {
            let look = self.look();
            self.trace.looks.push((self.now, look));
            return;
        }
        match self.carry_out(order) {
            Ok(waiting) => self.waiting.push((done, waiting)),
            Err(answer) => self.trace.answers[done] = Some((self.now, answer)),
        }
    }

    fn carry_out(&mut self, order: &Order) -> Result<Waiting, Answer> {
        let plan = self.plan;
        if let Order::Shutdown = order {
            self.close();
            return Ok(Waiting::End);
        }
        if self.closing {
            return Err(Answer::ShuttingDown);
        }
        let child = |model: &Self, number| {
            let found = model.find(&plan.target(number));
            found.filter(|&at| at != ROOT).ok_or(Answer::Unknown)
        };
        if let Order::Pause(number)
        | Order::Resume(number)
        | Order::Restart(number)
        | Order::Quarantine(number)
        | Order::Remove(number) = order
            && let Some(at) = self.find(&plan.target(*number))
        {
            self.note_moment(at);
        }
        match order {
            Order::Look | Order::Shutdown => panic!("no order to a child"),
            Order::Pause(number) => {
                let at = child(self, *number)?;
                self.pause(at)
            }
            Order::Quarantine(number) => {
                let at = child(self, *number)?;
                let node = &self.nodes[at];
                if (node.is_ended() && node.hold.is_none()) || node.end.is_some() {
                    return Err(Answer::NotApplicable);
                }
                let done = match node.hold {
                    Some(Hold::Quarantined(_)) => Answer::AlreadySo,
                    _ => Answer::Done,
                };
                let generation = node.generation;
                self.quarantine(at);
                Ok(Waiting::Down {
                    child: at,
                    generation,
                    done,
                })
            }
            Order::Resume(number) => {
                let path = plan.target(*number);
                let at = self.find(&path).ok_or(Answer::Unknown)?;
                let node = &self.nodes[at];
                if node.hold.is_some() {
                    self.release(at);
                    Err(Answer::Done)
                } else if at != ROOT && (node.is_ended() || node.end.is_some()) {
                    Err(Answer::NotApplicable)
                } else {
                    Err(Answer::AlreadySo)
                }
            }
            Order::Restart(number) => {
                let at = child(self, *number)?;
                self.restart(at)
            }
            Order::Remove(number) => {
                let at = child(self, *number)?;
                let again = std::mem::replace(&mut self.nodes[at].leaving, true);
                self.ask(at, StopCause::Removal);
                Ok(Waiting::Gone {
                    child: at,
                    answer: match again {
                        true => Answer::AlreadySo,
                        false => Answer::Done,
                    },
                })
            }
            Order::Add { under, name, .. } => {
                let under = plan.scope(*under);
                let parent = self.find(&under).ok_or(Answer::Unknown)?;
                let path = join(&under, &added(*name));
                let live = self.nodes[parent].is_active()
                    && !matches!(
                        &self.nodes[parent].what,
                        What::Scope(state) if matches!(state.life, Life::Stopping { .. })
                    );
                if !live {
                    return Err(Answer::NotApplicable);
                }
                if self.find(&path).is_some() {
                    return Err(Answer::Duplicate);
                }
                let worker = plan.script.iter().find_map(|line| match &line.order {
                    Order::Add { child, .. } if std::ptr::eq(&line.order, order) => Some(child),
                    _ => None,
                });
                let at = self.add(
                    path,
                    parent,
                    What::Worker(worker.expect("it is in the script")),
                    false,
                );
                self.log(at, Step::Added);
                self.reopen(at, true);
                Ok(Waiting::Started { child: at })
            }
        }
    }

    /// Notes in what state an order finds its child.
    fn note_moment(&mut self, at: usize) {
        let node = &self.nodes[at];
        let parent = &self.nodes[node.parent];
        let in_group = match &parent.what {
            What::Scope(state) => parent.is_active() && matches!(state.life, Life::Group(_)),
            What::Worker(_) => false,
        };
        let found = [
            (at != ROOT && in_group, Reached::CommandInGroup),
            (
                matches!(node.phase, Phase::Backoff(_)),
                Reached::CommandInBackoff,
            ),
            (node.stop.is_some(), Reached::CommandWhileStopping),
            (at == ROOT && node.hold.is_some(), Reached::HeldRootReleased),
        ];
        let found = found.into_iter().filter(|(is, _)| *is);
        self.trace.reached.extend(found.map(|(_, reached)| reached));
    }

    fn pause(&mut self, at: usize) -> Result<Waiting, Answer> {
        let node = &mut self.nodes[at];
        let generation = node.generation;
        let done = match node.hold {
            Some(Hold::Quarantined(_)) => return Err(Answer::NotApplicable),
            Some(Hold::Paused) => Answer::AlreadySo,
            None if node.is_ended() || node.end.is_some() => return Err(Answer::NotApplicable),
            None => {
                node.hold = Some(Hold::Paused);
                self.log(at, Step::Paused);
                self.nodes[at].cut_backoff();
                self.stop(at, StopCause::Pause);
                Answer::Done
            }
        };
        Ok(Waiting::Down {
            child: at,
            generation,
            done,
        })
    }

    fn restart(&mut self, at: usize) -> Result<Waiting, Answer> {
        let node = &mut self.nodes[at];
        if node.hold.is_some() || node.end.is_some() {
            return Err(Answer::NotApplicable);
        }
        let generation = node.generation;
        node.again |= node.is_ended();
        node.forget();
        self.stop(at, StopCause::Restart);
        Ok(Waiting::Again {
            child: at,
            generation,
        })
    }

    /// Answers who can be answered.
    pub fn answer(&mut self) -> bool {
        let mut moved = false;
        for (line, waiting) in std::mem::take(&mut self.waiting) {
            match self.outcome(waiting) {
                Ok(answer) => {
                    self.trace.answers[line] = Some((self.now, answer));
                    moved = true;
                }
                Err(waiting) => self.waiting.push((line, waiting)),
            }
        }
        moved
    }

    fn outcome(&mut self, waiting: Waiting) -> Result<Answer, Waiting> {
        match waiting {
            Waiting::Down {
                child,
                generation,
                done,
            } => {
                let node = &self.nodes[child];
                if !node.is_active() || node.generation > generation {
                    return Ok(done);
                }
            }
            Waiting::Again { child, generation } => {
                let node = &self.nodes[child];
                if node.generation > generation {
                    return Ok(Answer::Done);
                }
                let down = node.hold.is_some() || node.is_ended() || node.end.is_some();
                if !node.is_active() && down {
                    return Ok(Answer::NotApplicable);
                }
            }
            Waiting::Gone { child, answer } => {
                if self.is_over(child) {
                    self.settled(child);
                    self.remove(child);
                    return Ok(answer);
                }
            }
            Waiting::Started { child } => {
                let node = &self.nodes[child];
                let held = !node.is_active() && node.end.is_none() && node.hold.is_some();
                if node.first == Some(true) || held {
                    return Ok(Answer::Done);
                }
                let down = !node.is_active() && (node.end.is_some() || node.is_ended());
                if node.first == Some(false) || down {
                    self.ask(child, StopCause::Removal);
                    return self.outcome(Waiting::Gone {
                        child,
                        answer: Answer::NotStarted,
                    });
                }
            }
            Waiting::End => {
                if self.ended {
                    return Ok(Answer::Done);
                }
            }
        }
        Err(waiting)
    }
}

/// After the last line of a script, until the tree is shut down.
pub const LAST: u64 = 1_000_003;
