//! The expansions, as people would write them.

use expect_test::{Expect, expect};
use proc_macro2::TokenStream;
use quote::quote;

use super::attribute;
use crate::args::Kind;

fn check(kind: Kind, arguments: TokenStream, item: TokenStream, expected: &Expect) {
    let tokens = attribute(kind, arguments, item).to_string();
    let file = syn::parse_file(&tokens).unwrap_or_else(|error| panic!("{error}\n{tokens}"));
    expected.assert_eq(&prettyplease::unparse(&file));
}

fn check_method(arguments: TokenStream, item: TokenStream, expected: &Expect) {
    let method = attribute(Kind::Governance, arguments, item);
    let tokens = quote!(impl Server { #method }).to_string();
    let file = syn::parse_file(&tokens).unwrap_or_else(|error| panic!("{error}\n{tokens}"));
    expected.assert_eq(&prettyplease::unparse(&file));
}

#[test]
fn a_function() {
    check(
        Kind::Governance,
        quote!(action_type = "database.query", resource = "database://{database}"),
        quote! {
            /// Runs a query.
            async fn query(database: String) -> Result<u64, Refusal> {
                Ok(count(&database).await?)
            }
        },
        &expect![[r##"
            #[doc(hidden)]
            struct query {
                database: String,
            }
            const _: () = {
                use ::ascend_sdk::__private::Unchecked as _;
                const _: fn() = || {
                    ::ascend_sdk::__private::parameter::<String>();
                };
                impl ::ascend_sdk::Arguments for query {
                    fn schema() -> ::ascend_sdk::__private::schemars::Schema {
                        let mut properties = ::ascend_sdk::__private::Properties::new();
                        ::ascend_sdk::__private::Field::<
                            String,
                        >::describe(&mut properties, "database", "", ::core::option::Option::None);
                        properties.finish()
                    }
                    fn read(
                        given: ::ascend_sdk::__private::serde_json::Map<
                            ::std::string::String,
                            ::ascend_sdk::__private::serde_json::Value,
                        >,
                    ) -> ::core::result::Result<Self, ::ascend_sdk::ArgumentError> {
                        let mut given = ::ascend_sdk::__private::Given::new(given, &["database"])?;
                        ::core::result::Result::Ok(Self {
                            database: ::ascend_sdk::__private::Field::<
                                String,
                            >::take(
                                &mut given,
                                &["database"],
                                ::core::option::Option::None,
                                ::core::option::Option::None,
                            )?,
                        })
                    }
                    fn write(
                        &self,
                    ) -> ::core::result::Result<
                        ::ascend_sdk::__private::serde_json::Value,
                        ::ascend_sdk::__private::serde_json::Error,
                    > {
                        let mut written = <::ascend_sdk::__private::serde_json::Map<
                            ::std::string::String,
                            ::ascend_sdk::__private::serde_json::Value,
                        >>::new();
                        ::ascend_sdk::__private::Field::<
                            String,
                        >::put(&mut written, "database", &self.database)?;
                        ::core::result::Result::Ok(
                            ::ascend_sdk::__private::serde_json::Value::Object(written),
                        )
                    }
                }
            };
            impl ::ascend_sdk::Tool for query {
                type State = ();
                type Return = Result<u64, Refusal>;
                const SPEC: &'static ::ascend_sdk::ToolSpec = &::ascend_sdk::ToolSpec {
                    name: "query",
                    title: ::core::option::Option::None,
                    description: "Runs a query.",
                    namespace: "database",
                    verb: ::core::option::Option::Some("query"),
                    resource: ::ascend_sdk::Template(
                        &[
                            ::ascend_sdk::Segment::Literal("database://"),
                            ::ascend_sdk::Segment::Parameter("database"),
                        ],
                    ),
                    summary: ::core::option::Option::None,
                    floor: ::ascend_sdk::Floor {
                        risk_level: ::core::option::Option::None,
                        require_human_approval: false,
                    },
                    approval_timeout: ::core::option::Option::None,
                    metadata: &[],
                    parameters: &[
                        ::ascend_sdk::Parameter {
                            name: "database",
                            sensitive: false,
                            traced: false,
                        },
                    ],
                    state: &[],
                    hints: ::ascend_sdk::Hints {
                        read_only: ::core::option::Option::None,
                        destructive: ::core::option::Option::None,
                        idempotent: ::core::option::Option::None,
                        open_world: ::core::option::Option::None,
                    },
                    location: ::ascend_sdk::Location {
                        file: ::core::file!(),
                        line: ::core::line!(),
                    },
                };
                #[allow(deprecated, reason = "whoever offers the tool uses the function")]
                fn state(
                    state: &::ascend_sdk::State,
                ) -> ::core::result::Result<Self::State, ::ascend_sdk::MissingState> {
                    let _ = query;
                    ::core::result::Result::Ok(())
                }
                fn run(
                    permit: ::ascend_sdk::Permit<Self>,
                ) -> ::ascend_sdk::BoxFuture<'static, Self::Return> {
                    ::std::boxed::Box::pin(Self::query(permit))
                }
            }
            impl query {
                async fn query(permit: ::ascend_sdk::Permit<Self>) -> Result<u64, Refusal> {
                    let (Self { database: database }, (), _) = permit.into_parts();
                    Ok(count(&database).await?)
                }
            }
            /// Runs a query.
            async fn query(database: String) -> Result<u64, Refusal> {
                ::ascend_sdk::__private::call(query { database }, (), ::core::option::Option::None)
                    .await
            }
        "##]],
    );
}

#[test]
fn a_high_risk_function_with_all_kinds_of_parameters() {
    check(
        Kind::HighRisk,
        quote!(
            GOVERNOR,
            namespace = "database",
            verb = verb_of(&table),
            resource = "database://main/{t}",
            summary = "Delete {t}",
            approval_timeout = "10m",
            metadata(team = "data")
        ),
        quote! {
            /// Deletes a table.
            #[must_use]
            #[expect(clippy::too_many_lines)]
            pub(crate) async fn delete(
                #[state] pool: Pool,
                #[context] mut call: CallContext,
                /// The table.
                #[serde(rename = "table")]
                #[schemars(length(min = 1))]
                t: String,
                #[sensitive] mut pin: String,
            ) -> Result<(), DbError> {
                pin.clear();
                pool.drop(t).await
            }
        },
        &expect![[r##"
            #[allow(clippy::too_many_lines)]
            #[doc(hidden)]
            pub(crate) struct delete {
                t: String,
                pin: String,
            }
            #[allow(clippy::too_many_lines)]
            const _: () = {
                use ::ascend_sdk::__private::Unchecked as _;
                const _: fn() = || {
                    ::ascend_sdk::__private::parameter::<String>();
                    ::ascend_sdk::__private::parameter::<String>();
                };
                impl ::ascend_sdk::Arguments for delete {
                    fn schema() -> ::ascend_sdk::__private::schemars::Schema {
                        let mut properties = ::ascend_sdk::__private::Properties::new();
                        {
                            use ::ascend_sdk::__private::Undescribed as _;
                            type __Parameter = String;
                            #[derive(::ascend_sdk::__private::schemars::JsonSchema)]
                            #[schemars(
                                crate = "::ascend_sdk::__private::schemars",
                                bound = "for<'a> __Parameter: ::ascend_sdk::__private::Parameter<'a>"
                            )]
                            struct __Schema<const N: u8> {
                                /// The table.
                                #[serde(rename = "table")]
                                #[schemars(length(min = 1))]
                                t: String,
                            }
                            let schema = ::ascend_sdk::__private::Checked::<
                                __Schema<0>,
                            >::json_schema(properties.generator());
                            properties.derived(schema);
                        }
                        ::ascend_sdk::__private::Field::<
                            String,
                        >::describe(&mut properties, "pin", "", ::core::option::Option::None);
                        properties.finish()
                    }
                    fn read(
                        given: ::ascend_sdk::__private::serde_json::Map<
                            ::std::string::String,
                            ::ascend_sdk::__private::serde_json::Value,
                        >,
                    ) -> ::core::result::Result<Self, ::ascend_sdk::ArgumentError> {
                        let mut given = ::ascend_sdk::__private::Given::new(
                            given,
                            &["table", "pin"],
                        )?;
                        ::core::result::Result::Ok(Self {
                            t: ::ascend_sdk::__private::Field::<
                                String,
                            >::take(
                                &mut given,
                                &["table"],
                                ::core::option::Option::None,
                                ::core::option::Option::None,
                            )?,
                            pin: ::ascend_sdk::__private::Field::<
                                String,
                            >::take(
                                &mut given,
                                &["pin"],
                                ::core::option::Option::None,
                                ::core::option::Option::None,
                            )?,
                        })
                    }
                    fn write(
                        &self,
                    ) -> ::core::result::Result<
                        ::ascend_sdk::__private::serde_json::Value,
                        ::ascend_sdk::__private::serde_json::Error,
                    > {
                        let mut written = <::ascend_sdk::__private::serde_json::Map<
                            ::std::string::String,
                            ::ascend_sdk::__private::serde_json::Value,
                        >>::new();
                        ::ascend_sdk::__private::Field::<
                            String,
                        >::put(&mut written, "table", &self.t)?;
                        ::ascend_sdk::__private::Field::<
                            String,
                        >::put(&mut written, "pin", &self.pin)?;
                        ::core::result::Result::Ok(
                            ::ascend_sdk::__private::serde_json::Value::Object(written),
                        )
                    }
                }
            };
            #[allow(clippy::too_many_lines)]
            impl ::ascend_sdk::Tool for delete {
                type State = (Pool,);
                type Return = Result<(), DbError>;
                const SPEC: &'static ::ascend_sdk::ToolSpec = &::ascend_sdk::ToolSpec {
                    name: "delete",
                    title: ::core::option::Option::None,
                    description: "Deletes a table.",
                    namespace: "database",
                    verb: ::core::option::Option::None,
                    resource: ::ascend_sdk::Template(
                        &[
                            ::ascend_sdk::Segment::Literal("database://main/"),
                            ::ascend_sdk::Segment::Parameter("table"),
                        ],
                    ),
                    summary: ::core::option::Option::Some(
                        ::ascend_sdk::Template(
                            &[
                                ::ascend_sdk::Segment::Literal("Delete "),
                                ::ascend_sdk::Segment::Parameter("table"),
                            ],
                        ),
                    ),
                    floor: ::ascend_sdk::Floor {
                        risk_level: ::core::option::Option::Some(::ascend_sdk::RiskLevel::High),
                        require_human_approval: true,
                    },
                    approval_timeout: ::core::option::Option::Some(
                        ::core::time::Duration::from_secs(600u64),
                    ),
                    metadata: &[("team", "data")],
                    parameters: &[
                        ::ascend_sdk::Parameter {
                            name: "table",
                            sensitive: false,
                            traced: false,
                        },
                        ::ascend_sdk::Parameter {
                            name: "pin",
                            sensitive: true,
                            traced: false,
                        },
                    ],
                    state: &[::ascend_sdk::StateRequirement::of::<Pool>()],
                    hints: ::ascend_sdk::Hints {
                        read_only: ::core::option::Option::None,
                        destructive: ::core::option::Option::None,
                        idempotent: ::core::option::Option::None,
                        open_world: ::core::option::Option::None,
                    },
                    location: ::ascend_sdk::Location {
                        file: ::core::file!(),
                        line: ::core::line!(),
                    },
                };
                #[allow(unused_variables, reason = "the verb follows from some of them")]
                fn verb(&self) -> ::ascend_sdk::Verb {
                    let Self { t, pin } = self;
                    ::ascend_sdk::__private::verb(verb_of(&table))
                }
                fn governor() -> ::core::option::Option<::ascend_sdk::Governor> {
                    ::core::option::Option::Some(::ascend_sdk::__private::bound(&(GOVERNOR)))
                }
                #[allow(deprecated, reason = "whoever offers the tool uses the function")]
                fn state(
                    state: &::ascend_sdk::State,
                ) -> ::core::result::Result<Self::State, ::ascend_sdk::MissingState> {
                    let _ = delete;
                    ::core::result::Result::Ok((::ascend_sdk::__private::state::<Pool>(state)?,))
                }
                fn run(
                    permit: ::ascend_sdk::Permit<Self>,
                ) -> ::ascend_sdk::BoxFuture<'static, Self::Return> {
                    ::std::boxed::Box::pin(Self::delete(permit))
                }
            }
            impl delete {
                #[allow(clippy::too_many_lines)]
                async fn delete(permit: ::ascend_sdk::Permit<Self>) -> Result<(), DbError> {
                    let (Self { t: t, pin: mut pin }, (pool,), context) = permit.into_parts();
                    let mut call = <CallContext as ::ascend_sdk::__private::Context>::of(context);
                    pin.clear();
                    pool.drop(t).await
                }
            }
            /// Deletes a table.
            #[must_use]
            #[allow(clippy::too_many_lines)]
            pub(crate) async fn delete(
                pool: Pool,
                call: CallContext,
                t: String,
                pin: String,
            ) -> Result<(), DbError> {
                ::ascend_sdk::__private::call(
                        delete { t, pin },
                        (pool,),
                        ::core::option::Option::Some(
                            <CallContext as ::ascend_sdk::__private::Context>::given(call),
                        ),
                    )
                    .await
            }
        "##]],
    );
}

#[test]
fn a_method() {
    check_method(
        quote!(self.governor, action_type = "database.delete", resource = "database://{table}"),
        quote! {
            /// Deletes a table.
            #[tool(name = "delete_table")]
            async fn delete(
                &self,
                #[sensitive(pin)] Parameters(mut deletion): Parameters<Deletion>,
                #[context] request: RequestContext<RoleServer>,
            ) -> Result<CallToolResult, ErrorData> {
                self.drop(deletion).await
            }
        },
        &expect![[r#"
            impl Server {
                #[doc(hidden)]
                const __DELETE_SPEC: &'static ::ascend_sdk::ToolSpec = &::ascend_sdk::ToolSpec {
                    name: "delete_table",
                    title: ::core::option::Option::None,
                    description: "Deletes a table.",
                    namespace: "database",
                    verb: ::core::option::Option::Some("delete"),
                    resource: ::ascend_sdk::Template(
                        &[
                            ::ascend_sdk::Segment::Literal("database://"),
                            ::ascend_sdk::Segment::Parameter("table"),
                        ],
                    ),
                    summary: ::core::option::Option::None,
                    floor: ::ascend_sdk::Floor {
                        risk_level: ::core::option::Option::None,
                        require_human_approval: false,
                    },
                    approval_timeout: ::core::option::Option::None,
                    metadata: &[],
                    parameters: &[
                        ::ascend_sdk::Parameter {
                            name: "pin",
                            sensitive: true,
                            traced: false,
                        },
                    ],
                    state: &[],
                    hints: ::ascend_sdk::Hints {
                        read_only: ::core::option::Option::None,
                        destructive: ::core::option::Option::None,
                        idempotent: ::core::option::Option::None,
                        open_world: ::core::option::Option::None,
                    },
                    location: ::ascend_sdk::Location {
                        file: ::core::file!(),
                        line: ::core::line!(),
                    },
                };
                /// Deletes a table.
                #[tool(
                    name = "delete_table",
                    meta = ::ascend_sdk::__private::governed(
                        ::core::option::Option::None,
                        Self::__DELETE_SPEC
                    )
                )]
                async fn delete(
                    &self,
                    parameter_0: Parameters<Deletion>,
                    parameter_1: RequestContext<RoleServer>,
                ) -> Result<CallToolResult, ErrorData> {
                    let _ = || {
                        let _ = &parameter_0.0.table;
                    };
                    let governor = ::core::option::Option::Some(
                        ::ascend_sdk::__private::bound(&(self.governor)),
                    );
                    let verb = ::ascend_sdk::Verb::from("delete");
                    let arguments = ::ascend_sdk::__private::arguments([
                        ::ascend_sdk::__private::Argument::fields(&parameter_0)
                            .sensitive("pin", &parameter_0.0.pin),
                    ]);
                    let context = <::ascend_sdk::CallContext as ::core::default::Default>::default();
                    let context = {
                        use ::ascend_sdk::__private::Untold as _;
                        ::ascend_sdk::__private::Told(&parameter_1).tell(context)
                    };
                    ::ascend_sdk::__private::guard(
                            governor,
                            Self::__DELETE_SPEC,
                            verb,
                            arguments,
                            context,
                            move || async move {
                                let Parameters(mut deletion) = parameter_0;
                                let request = parameter_1;
                                #[allow(
                                    unreachable_code,
                                    clippy::diverging_sub_expression,
                                    clippy::empty_loop,
                                    clippy::let_unit_value,
                                    clippy::let_with_type_underscore,
                                    clippy::needless_return,
                                    reason = "it never runs"
                                )]
                                if false {
                                    let never: Result<CallToolResult, ErrorData> = loop {};
                                    return never;
                                }
                                self.drop(deletion).await
                            },
                        )
                        .await
                }
            }
        "#]],
    );
}

#[test]
fn a_mistake_leaves_the_function() {
    check(
        Kind::Governance,
        quote!(action_type = "database.query"),
        quote! {
            /// Runs a query.
            async fn query(/** Which. */ #[sensitive] database: String) -> Result<u64, Refusal> {
                Ok(count(&database).await?)
            }
        },
        &expect![[r##"
            #[allow(unused)]
            /// Runs a query.
            async fn query(database: String) -> Result<u64, Refusal> {
                Ok(count(&database).await?)
            }
            #[doc(hidden)]
            type query = ::ascend_sdk::__private::Unfinished;
            ::core::compile_error! {
                "missing `resource`; write `resource = \"database://main\"`"
            }
        "##]],
    );
}

#[test]
fn another_unraw_the_crate_is_used_everywhere() {
    let tokens = attribute(
        Kind::HighRisk,
        quote!(
            GOVERNOR,
            crate = "crate::governance",
            namespace = "database",
            verb = verb_of(&table),
            resource = "{table}",
            risk_level = "critical",
            read_only = false
        ),
        quote! {
            /// Deletes a table.
            async fn delete(#[state] pool: Pool, #[context] call: CallContext, table: String)
                -> Result<(), DbError> { Ok(()) }
        },
    );
    let text = tokens.to_string();
    assert!(!text.contains("ascend_sdk"), "{text}");
}

#[test]
fn an_attribute_about_the_body_goes_first() {
    check(
        Kind::Governance,
        quote!(action_type = "database.query", resource = "database"),
        quote! {
            /// Runs a query.
            #[tracing::instrument(skip_all)]
            async fn query(#[sensitive] pin: String) -> Result<u64, Refusal> {
                Ok(0)
            }
        },
        &expect![[r##"
            #[tracing::instrument(skip_all)]
            #[::ascend_sdk::mcp_governance(action_type = "database.query", resource = "database")]
            /// Runs a query.
            async fn query(#[sensitive] pin: String) -> Result<u64, Refusal> {
                Ok(0)
            }
        "##]],
    );
}

/// Whatever stands under an attribute or in it, the macro answers.
#[test]
fn nothing_panics() {
    let items = [
        quote!(),
        quote!(;),
        quote!(fn),
        quote!(
            struct S;
        ),
        quote!(
            async fn f(self) {}
        ),
        quote!(
            async fn f(&mut self, x: u8) -> u8;
        ),
        quote!(
            async fn f(_: &(dyn Fn(u8) -> u8 + '_), ...)
            where
                u8: Copy,
            {
            }
        ),
        quote!(
            const unsafe extern "C" fn f<const N: usize>([a, ..]: [u8; N]) {}
        ),
        quote!(
            async fn r#fn(r#type: [u8; 3], x: fn(&u8)) -> Result<(), E> {
                #![allow(x)]
            }
        ),
        quote!(
            async fn f(
                #[serde]
                #[serde(rename)]
                #[serde(rename = 5)]
                x: u8,
            ) -> R {
            }
        ),
        quote!(
            #[tool]
            #[tool(name)]
            #[instrument]
            #[doc]
            async fn f(Parameters(x): Parameters) -> R {}
        ),
        quote!(
            #[mcp_governance]
            #[high_risk_action]
            #[cfg]
            #[expect]
            async fn f() -> R {}
        ),
        quote!(async fn f(#[sensitive(1)] Parameters(x): Parameters<X>, #[sensitive()] self) -> R {}),
    ];
    let arguments = [
        quote!(),
        quote!(,),
        quote!(= = =),
        quote!(x),
        quote!(verb),
        quote!(verb =),
        quote!(metadata(a), metadata(a =), metadata()),
        quote!(5, "x", read_only(), crate, crate = 5, governor = 5),
        quote!(action_type = "a.b", resource = "{x}{+x}{{}}", summary = "{}"),
        quote!(action_type = ".", resource = "}", name = "", approval_timeout = "h"),
        quote!(namespace = "", verb = { x }, resource = "{type}", description = "", title = ""),
        quote!(action_type = "a.b", resource = "main", description = "d"),
        quote!(action_type = "a.b" resource = "main" description),
    ];
    for item in &items {
        for arguments in &arguments {
            for kind in Kind::ALL {
                let _ = attribute(kind, arguments.clone(), item.clone()).to_string();
            }
        }
    }
}
