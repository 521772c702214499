//! `struct -p`: members together with what they point to.

use super::member::MemberValue;
use super::request::Request;
use crate::command::CommandError;
use crate::output::{Output, Render, Style};
use crate::typed_value::{TypedValue, ValueStyle};
use mortis_debuginfo::types::{Type, TypeId, TypeSource, declarator, strip};
use mortis_debuginfo::value::Value as Tree;
use mortis_kernel::expression::{Evaluator, Place, Value};
use serde::Serialize;

/// A member, and what it points to.
#[derive(Serialize)]
struct Followed {
    #[serde(flatten)]
    member: MemberValue,
    #[serde(skip_serializing_if = "Option::is_none")]
    target: Option<TypedValue>,
    #[serde(skip)]
    text: Option<String>,
    #[serde(skip)]
    style: ValueStyle,
}

impl Render for Followed {
    fn render(&self, out: &mut String, _: Style) {
        match &self.text {
            Some(text) => out.push_str(text),
            None => self.member.render(out, self.style),
        }
    }
}

/// Shows the members that were asked for, or all, each pointer with its target.
pub(super) fn show(
    evaluator: &Evaluator,
    request: &Request,
    base: &Value,
    out: &mut Output,
) -> Result<(), CommandError> {
    let whole = request.members.is_empty();
    if whole {
        out.layout(&format!("{} {{\n", request.ty.shown()))?;
    }
    for path in &members(evaluator, request)? {
        let style = request.style;
        let member = MemberValue::read(evaluator, &request.ty, base, path, style)?;
        let value = evaluator.member(base, path)?;
        let followed = follow(evaluator, &value, path, &member, style);
        let (text, target) = followed.map_or((None, None), |(text, target)| (Some(text), target));
        out.emit(&Followed { member, target: target.map(TypedValue), text, style })?;
    }
    if whole {
        out.layout("}\n")?;
    }
    Ok(())
}

/// The members to show; all that have names where none was asked for.
fn members(evaluator: &Evaluator, request: &Request) -> Result<Vec<String>, CommandError> {
    if !request.members.is_empty() {
        return Ok(request.members.clone());
    }
    let mut names = Vec::new();
    let mut todo = vec![request.ty.id];
    // Anonymous structs and unions count as their members.
    while let Some(id) = todo.pop() {
        let (_, ty) = strip(evaluator.types(), id)?;
        let Type::Compound(compound) = &*ty else { continue };
        for member in &compound.members {
            match &member.name {
                Some(name) => names.push(name.to_string()),
                None => todo.push(member.ty),
            }
        }
    }
    Ok(names)
}

/// The text of a pointer and its target; `None` for members that are no pointers.
fn follow(
    evaluator: &Evaluator,
    value: &Value,
    path: &str,
    member: &MemberValue,
    style: ValueStyle,
) -> Option<(String, Option<Tree>)> {
    let types = evaluator.types();
    let (_, stripped) = strip(types, value.ty).ok()?;
    let Type::Pointer { target, .. } = &*stripped else { return None };
    let Tree::Pointer { address, symbol, string } = &member.value.0 else { return None };
    let head = format!("  {} = {:#x}\n  -> ", declarator(types, value.ty, path), address.0);
    let symbol = symbol.as_ref().map(|symbol| format!("<{symbol}>"));
    let told = |text: &str| Some((format!("{head}{text}\n"), None));
    if address.is_null() {
        return told("NULL");
    }
    if is_code(types, *target) {
        return told(symbol.as_deref().unwrap_or("(unknown)"));
    }
    if let Some(string) = string {
        let text = match string {
            Ok(string) => format!("\"{}\"", String::from_utf8_lossy(&string.bytes)),
            Err(_) => "(not accessible)".to_owned(),
        };
        return told(&match symbol {
            Some(symbol) => format!("{symbol} {text}"),
            None => text,
        });
    }
    if matches!(&*strip(types, *target).ok()?.1, Type::Void) {
        return told(symbol.as_deref().unwrap_or("(unknown target type)"));
    }
    if evaluator.memory().read_u8(*address).is_err() {
        return told("(not accessible)");
    }
    let object = Value { ty: *target, place: Place::at(*address) };
    match evaluator.decode(&object, &style.limits()) {
        Ok(tree) => {
            // crash puts five blanks before each line but the first.
            let text = tree.text(&style.text(0)).replace('\n', "\n     ");
            let symbol = symbol.map_or(String::new(), |symbol| format!("{symbol} "));
            Some((format!("{head}{symbol}{text}\n"), Some(tree)))
        }
        Err(_) => told("(no debuginfo data)"),
    }
}

fn is_code(types: &dyn TypeSource, id: TypeId) -> bool {
    matches!(strip(types, id).as_ref().map(|(_, ty)| &**ty), Ok(Type::Function(_)))
}
