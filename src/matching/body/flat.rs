//! A body's steps laid flat: all texts one after another, all steps, all members of objects.

use std::ops::Range;

use super::{Member, Span, Step};
use crate::definition::template::{self, Op, Reference};

/// Steps with all that they refer to.
pub(super) struct Flat {
    /// Literal texts and names of fields.
    text: Box<str>,
    steps: Box<[Step]>,
    members: Box<[Member]>,
    /// The steps that write the whole body; the others are of members.
    main: Span,
}

impl Flat {
    /// The steps of a template.
    pub fn of(ops: &[Op]) -> Self {
        let mut layout = Layout::default();
        let main = layout.steps_of(ops);
        layout.finish(main)
    }

    /// One step between those of a template and a text that ends the body.
    pub fn around(before: &[Op], step: Step, after: &str) -> Self {
        let mut layout = Layout::default();
        let mut main = layout.steps_of(before);
        main.push(step);
        main.push(Step::Text(layout.text(after)));
        layout.finish(main)
    }

    pub fn main(&self) -> &[Step] {
        self.steps(self.main)
    }

    pub fn steps(&self, span: Span) -> &[Step] {
        &self.steps[span.range()]
    }

    pub fn members(&self, span: Span) -> &[Member] {
        &self.members[span.range()]
    }

    pub fn text(&self, span: Span) -> &str {
        &self.text[span.range()]
    }

    /// Whether a step is among them, in whatever member.
    pub fn has(&self, step: Step) -> bool {
        self.steps.contains(&step)
    }
}

impl Span {
    fn of(range: Range<usize>) -> Self {
        let place = |at: usize| u32::try_from(at).expect("a record of the definitions is far below 4 GiB");
        Self { start: place(range.start), end: place(range.end) }
    }

    fn range(self) -> Range<usize> {
        self.start as usize..self.end as usize
    }
}

/// What has its place so far.
#[derive(Default)]
struct Layout {
    text: String,
    steps: Vec<Step>,
    members: Vec<Member>,
}

impl Layout {
    /// The steps of a list, whose objects' members have their places already.
    fn steps_of(&mut self, ops: &[Op]) -> Vec<Step> {
        ops.iter().map(|op| self.step(op)).collect()
    }

    fn step(&mut self, op: &Op) -> Step {
        match op {
            Op::Text(text) => Step::Text(self.text(text)),
            Op::Value(Reference::Field(name)) => Step::Value(self.text(name)),
            Op::Value(Reference::AttachmentUrl(name)) => Step::AttachmentUrl(self.text(name)),
            Op::Spliced(Reference::Field(name)) => Step::Spliced(self.text(name)),
            Op::Spliced(Reference::AttachmentUrl(name)) => Step::SplicedAttachmentUrl(self.text(name)),
            Op::Value(Reference::Missing) => Step::Missing,
            Op::Spliced(Reference::Missing) => Step::SplicedMissing,
            Op::Fixed(fixed) => Step::Fixed(*fixed),
            Op::Varying(varying) => Step::Varying(*varying),
            Op::Object(members) => Step::Object(self.object(members)),
        }
    }

    fn object(&mut self, members: &[template::Member]) -> Span {
        let mut placed = Vec::with_capacity(members.len());
        for member in members {
            let (key, value) = (self.steps_of(&member.key), self.steps_of(&member.value));
            placed.push(Member { key: append(&mut self.steps, key), value: append(&mut self.steps, value) });
        }
        append(&mut self.members, placed)
    }

    fn text(&mut self, text: &str) -> Span {
        let start = self.text.len();
        self.text.push_str(text);
        Span::of(start..self.text.len())
    }

    fn finish(mut self, main: Vec<Step>) -> Flat {
        let main = append(&mut self.steps, main);
        Flat { text: self.text.into(), steps: self.steps.into(), members: self.members.into(), main }
    }
}

fn append<T>(all: &mut Vec<T>, more: Vec<T>) -> Span {
    let start = all.len();
    all.extend(more);
    Span::of(start..all.len())
}
