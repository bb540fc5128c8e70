//! A body's steps in flat arrays: all texts joined, all steps, all members of objects.

use std::ops::Range;

use super::{BodySpan, BodyStep, CompiledMember};
use crate::definition::template::{self, RowReference, TemplateOp};

/// Steps and everything that they refer to.
pub(super) struct FlatBody {
    /// Literal texts and names of fields.
    text: Box<str>,
    steps: Box<[BodyStep]>,
    members: Box<[CompiledMember]>,
    /// The steps that write the whole body; the others belong to members.
    main_steps: BodySpan,
}

impl FlatBody {
    /// The steps of a template.
    pub fn of(ops: &[TemplateOp]) -> Self {
        let mut layout = FlatBodyBuilder::default();
        let main = layout.steps_of(ops);
        layout.finish(main)
    }

    /// The steps of a template, then one step, then a text that ends the body.
    pub fn wrap_step(before: &[TemplateOp], step: BodyStep, after: &str) -> Self {
        let mut layout = FlatBodyBuilder::default();
        let mut main = layout.steps_of(before);
        main.push(step);
        main.push(BodyStep::Text(layout.text(after)));
        layout.finish(main)
    }

    pub fn main(&self) -> &[BodyStep] {
        self.steps(self.main_steps)
    }

    pub fn steps(&self, span: BodySpan) -> &[BodyStep] {
        &self.steps[span.range()]
    }

    pub fn members(&self, span: BodySpan) -> &[CompiledMember] {
        &self.members[span.range()]
    }

    pub fn text(&self, span: BodySpan) -> &str {
        &self.text[span.range()]
    }

    /// Whether the body has this step, in any member.
    pub fn has(&self, step: BodyStep) -> bool {
        self.steps.contains(&step)
    }
}

impl BodySpan {
    fn of(range: Range<usize>) -> Self {
        let position = |at: usize| u32::try_from(at).expect("a record of the definitions topic is far below 4 GiB");
        Self { start: position(range.start), end: position(range.end) }
    }

    fn range(self) -> Range<usize> {
        self.start as usize..self.end as usize
    }
}

/// The arrays under construction.
#[derive(Default)]
struct FlatBodyBuilder {
    text: String,
    steps: Vec<BodyStep>,
    members: Vec<CompiledMember>,
}

impl FlatBodyBuilder {
    /// Converts a list to steps. The steps of its objects' members are already in the arrays.
    fn steps_of(&mut self, ops: &[TemplateOp]) -> Vec<BodyStep> {
        ops.iter().map(|op| self.step(op)).collect()
    }

    fn step(&mut self, op: &TemplateOp) -> BodyStep {
        match op {
            TemplateOp::Text(text) => BodyStep::Text(self.text(text)),
            TemplateOp::Value(RowReference::Field(name)) => BodyStep::Value(self.text(name)),
            TemplateOp::Value(RowReference::AttachmentUrl(name)) => BodyStep::AttachmentUrl(self.text(name)),
            TemplateOp::Spliced(RowReference::Field(name)) => BodyStep::Spliced(self.text(name)),
            TemplateOp::Spliced(RowReference::AttachmentUrl(name)) => BodyStep::SplicedAttachmentUrl(self.text(name)),
            TemplateOp::Value(RowReference::MissingFields) => BodyStep::MissingFields,
            TemplateOp::Spliced(RowReference::MissingFields) => BodyStep::SplicedMissingFields,
            TemplateOp::EventParameter(fixed) => BodyStep::EventParameter(*fixed),
            TemplateOp::MessageParameter(varying) => BodyStep::MessageParameter(*varying),
            TemplateOp::Object(members) => BodyStep::Object(self.object(members)),
        }
    }

    fn object(&mut self, members: &[template::DynamicMember]) -> BodySpan {
        let mut placed = Vec::with_capacity(members.len());
        for member in members {
            let (key, value) = (self.steps_of(&member.key), self.steps_of(&member.value));
            placed.push(CompiledMember { key: append(&mut self.steps, key), value: append(&mut self.steps, value) });
        }
        append(&mut self.members, placed)
    }

    fn text(&mut self, text: &str) -> BodySpan {
        let start = self.text.len();
        self.text.push_str(text);
        BodySpan::of(start..self.text.len())
    }

    fn finish(mut self, main: Vec<BodyStep>) -> FlatBody {
        let main = append(&mut self.steps, main);
        FlatBody { text: self.text.into(), steps: self.steps.into(), members: self.members.into(), main_steps: main }
    }
}

fn append<T>(all: &mut Vec<T>, more: Vec<T>) -> BodySpan {
    let start = all.len();
    all.extend(more);
    BodySpan::of(start..all.len())
}
